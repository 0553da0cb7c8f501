"""Writes the price lists inside the two installed libraries as JSON: lists.py FOLDER."""

import dataclasses
import datetime
import decimal
import importlib.util
import json
import pathlib
import sys


def plain(value):
    """The library's data classes as the JSON that its project publishes; decimals keep their text."""
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {field.name.rstrip("_"): getattr(value, field.name) for field in dataclasses.fields(value)}
        fields["@"] = type(value).__name__
        return {key: plain(one) for key, one in fields.items() if one is not None}
    if hasattr(value, "__dict__"):
        fields = {key.rstrip("_"): one for key, one in vars(value).items() if not key.startswith("_") and one is not None}
        fields["@"] = type(value).__name__
        return {key: plain(one) for key, one in fields.items()}
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def main():
    folder = pathlib.Path(sys.argv[1])
    # found, not imported: importing it asks the network for a newer list
    package = pathlib.Path(importlib.util.find_spec("litellm").submodule_search_locations[0])
    litellm = package / "model_prices_and_context_window_backup.json"
    (folder / "litellm.json").write_bytes(litellm.read_bytes())
    from genai_prices.data_snapshot import get_snapshot

    providers = [
        {"id": provider.id, "models": [plain(model) for model in provider.models]} for provider in get_snapshot().providers
    ]
    (folder / "genai-prices.json").write_text(json.dumps({"providers": providers}, indent=1))
    print(folder / "litellm.json")
    print(folder / "genai-prices.json")


if __name__ == "__main__":
    main()
