"""Run the server that is described by a JSON object: ``python pipeline/tracking/server '{"model": …}'``."""

import json
import sys
from importlib import import_module

if __name__ == "__main__":
    sys.exit(import_module("scoringserver.front").run(json.loads(sys.argv[1])))
