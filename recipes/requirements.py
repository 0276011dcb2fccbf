"""Print the requirements of setup.cfg (install_requires, the extras ``dev`` and ``image``), one a line."""

import configparser
import sys

parser = configparser.ConfigParser()
parser.read(sys.argv[1], encoding="utf-8")
print(parser["options"]["install_requires"].strip())
for extra in ("dev", "image"):
    print(parser["options.extras_require"][extra].strip().replace("; ", "\n"))
