#!/bin/sh
# Installs the two public pricing libraries into a virtual environment and writes their price lists as JSON files:
#   install.sh [FOLDER]     default: target/peers/prices
# Then: just rates litellm FOLDER/litellm.json           (or genai-prices FOLDER/genai-prices.json)
#       FOLDER/venv/bin/python tests/peers/prices/derive.py     makes tests/cases/cost/libraries.json again
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../../../target/peers/prices}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
[ -x "$folder/venv/bin/python" ] || python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip genai-prices==0.2.3
# litellm's own pins contradict each other on older Pythons; what its cost functions import is enough
$pip --no-deps litellm==1.109.1
$pip openai pydantic httpx h2 "tiktoken>=0.8" tokenizers python-dotenv importlib-metadata click jinja2 jsonschema aiohttp fastuuid pydantic-settings
"$folder/venv/bin/python" "$here/lists.py" "$folder"
