"""``python -m dcase_asd``."""

from dcase_asd.cli import main

if __name__ == "__main__":
    main()
