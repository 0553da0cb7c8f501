"""Presidio's own analyzer behind the HTTP interface of its app (POST /analyze, GET /health): the package from PyPI holds the engine, the
app itself comes only in the image. Flask takes lists of texts as the app does: BatchAnalyzerEngine.analyze_iterator, to_dict of each result.

With PRESIDIO_MODEL, the name of an installed spaCy pipeline, persons and places are its own findings. Without one there is no model at
all: a blank English pipeline, Presidio's pattern recognisers, and a deny list for names and places, made with its own class.
"""
import json
import os
import sys

import spacy
from flask import Flask, Response, jsonify, request
from presidio_analyzer import AnalyzerEngine, AnalyzerRequest, BatchAnalyzerEngine, PatternRecognizer, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine

NAMES = {"PERSON": ["Zqx Vorn", "Renée Qúx", "𝒵𝓆𝓍 Vorn", "李雷"], "LOCATION": ["Vornopolis", "Ülmqx"], "MARTIAN": ["Marvqin"]}


class Blank(SpacyNlpEngine):
    """Splits words; knows no entities."""

    def __init__(self):
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": spacy.blank("en")}

    def load(self):
        pass


def engine():
    model = os.environ.get("PRESIDIO_MODEL")
    if model:
        nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": model}])
        nlp.load()
        return AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    for entity, names in NAMES.items():
        registry.add_recognizer(PatternRecognizer(supported_entity=entity, deny_list=names, name=f"list of {entity}"))
    return AnalyzerEngine(nlp_engine=Blank(), registry=registry, supported_languages=["en"])


def app(analyzer):
    flask, batches = Flask("analyzer"), BatchAnalyzerEngine(analyzer)

    @flask.route("/health")
    def health():
        return "up"

    @flask.route("/analyze", methods=["POST"])
    def analyze():
        try:
            asked = AnalyzerRequest(request.get_json())
            several = isinstance(asked.text, list)
            texts = asked.text if several else [asked.text]
            found = batches.analyze_iterator(texts, language=asked.language, batch_size=len(texts), entities=asked.entities,
                                             score_threshold=asked.score_threshold)
            answers = [[{key: value for key, value in one.to_dict().items() if key != "recognition_metadata"} for one in each] for each in found]
            return Response(json.dumps(answers if several else answers[0], default=lambda one: one.to_dict()), content_type="application/json")
        except Exception as error:  # as the app: whatever goes wrong is a 500 with a text
            return jsonify(error=str(error)), 500

    return flask


if __name__ == "__main__":
    from waitress import create_server

    server = create_server(app(engine()), host="127.0.0.1", port=int(sys.argv[1]), threads=2)
    print(json.dumps({"ready": True, "port": server.effective_port}), flush=True)
    server.run()
