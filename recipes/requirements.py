"""Print the requirements of setup.cfg (install_requires and the extra ``dev``), one a line."""

import configparser
import sys

parser = configparser.ConfigParser()
parser.read(sys.argv[1], encoding="utf-8")
print(parser["options"]["install_requires"].strip())
print(parser["options.extras_require"]["dev"].strip())
