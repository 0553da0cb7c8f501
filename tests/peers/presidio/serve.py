"""The server of deploy/recogniser. Without PRESIDIO_MODEL there is no model: a blank English pipeline, Presidio's pattern recognisers, and a
deny list for names and places, made with its own class. With it, persons and places are the findings of that installed spaCy pipeline.
"""
import importlib.util
import os
import sys

import spacy
from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine

NAMES = {"PERSON": ["Zqx Vorn", "Renée Qúx", "𝒵𝓆𝓍 Vorn", "李雷"], "LOCATION": ["Vornopolis", "Ülmqx"], "MARTIAN": ["Marvqin"]}
SERVE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "deploy", "recogniser", "serve.py")


def deployed():
    spec = importlib.util.spec_from_file_location("deployed", SERVE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Blank(SpacyNlpEngine):
    """Splits words; knows no entities."""

    def __init__(self):
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": spacy.blank("en")}

    def load(self):
        pass


def lists():
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    for entity, names in NAMES.items():
        registry.add_recognizer(PatternRecognizer(supported_entity=entity, deny_list=names, name=f"list of {entity}"))
    return AnalyzerEngine(nlp_engine=Blank(), registry=registry, supported_languages=["en"])


if __name__ == "__main__":
    server, model = deployed(), os.environ.get("PRESIDIO_MODEL")
    server.serve(server.engine(model) if model else lists(), "127.0.0.1", int(sys.argv[1]), 2)
