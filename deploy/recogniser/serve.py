"""Presidio's analyzer with one spaCy model, behind the interface that `recogniser:` of tollgate's step `redact` asks: POST /analyze with a list
of texts, GET /health. Nothing is stored and nothing is logged but errors' kinds. The package from PyPI holds the engine; the HTTP app comes
only in Presidio's own image, whose model is larger.

MODEL is the name of an installed spaCy pipeline, PORT and HOST the address (127.0.0.1:5002: only the pod may ask), THREADS the requests at a
time. The process needs no network.
"""
import json
import os
import sys

import tldextract
from flask import Flask, Response, jsonify, request
from presidio_analyzer import AnalyzerEngine, AnalyzerRequest, BatchAnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

# Presidio's recogniser of mail addresses would fetch the list of public suffixes; the package has one
tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def engine(model):
    nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": model}])
    nlp.load()
    return AnalyzerEngine(nlp_engine=nlp, supported_languages=["en"])


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
        except Exception as error:
            # its text may quote what was asked
            print(type(error).__name__, file=sys.stderr, flush=True)
            return jsonify(error=type(error).__name__), 500

    return flask


def serve(analyzer, host, port, threads):
    from waitress import create_server

    server = create_server(app(analyzer), host=host, port=port, threads=threads)
    print(json.dumps({"ready": True, "port": server.effective_port}), flush=True)
    server.run()


if __name__ == "__main__":
    serve(engine(os.environ["MODEL"]), os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "5002")), int(os.environ.get("THREADS", "2")))
