"""`python -m infinitic.message_schemas [DIRECTORY]`: writes the schemas there, or beside this file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from infinitic.message_schemas import documents

place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
for name, schema in documents().items():
    (place / f"{name}.json").write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
