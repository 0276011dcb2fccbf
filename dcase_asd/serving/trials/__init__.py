"""How ``fit`` does on recordings with known truth: ``dcase-asd trial``. The only part of ``serving`` that reads labels."""
