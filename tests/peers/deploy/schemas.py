"""The published schemas that rendered objects and compose files are held against. Unknown keys are errors.

Kubernetes' own objects by kubernetes-validate (strict schemas per version), ServiceMonitor, PrometheusRule and
ScaledObject by the models that cloudcoil generates from their CRDs, Gateway and HTTPRoute by their CRDs, compose files
by compose-spec.
"""
import glob
import os
import re

import jsonschema
import kubernetes_validate
import yaml
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus
from compose_spec import PyCompose

CUSTOM = {"ScaledObject": keda.ScaledObject, "ServiceMonitor": prometheus.ServiceMonitor,
          "PrometheusRule": prometheus.PrometheusRule}
# No package has the schema of these: the part prints them.
WITHOUT_SCHEMA = {"OpenTelemetryCollector"}


class Loader(yaml.SafeLoader):
    """Refuses a key that a map has twice. Helm and kubectl would take the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: twice: {sorted(twice)}")
        return super().construct_mapping(node, deep)


def load_all(text):
    return [one for one in yaml.load_all(text, Loader) if one]


def unknown_keys(given, known, path=""):
    """Keys of `given` that the model dropped."""
    if isinstance(given, dict) and isinstance(known, dict):
        out = [f"{path}.{key}" for key in given if key not in known]
        shared = [key for key in given if key in known]
        return out + [one for key in shared for one in unknown_keys(given[key], known[key], f"{path}.{key}")]
    if isinstance(given, list) and isinstance(known, list):
        return [one for i, (a, b) in enumerate(zip(given, known)) for one in unknown_keys(a, b, f"{path}[{i}]")]
    return []


def closed(schema):
    """The schema of a CRD, without room for unknown keys."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    own = {} if "properties" not in schema or "metadata" in schema["properties"] else {"additionalProperties": False}
    return {**own, **{key: closed(value) for key, value in schema.items()}}


def gateway_api(one):
    """What is wrong with a Gateway or an HTTPRoute, or None. Rules in CEL are not evaluated."""
    for path in glob.glob(os.path.join(os.environ["PEERS_CACHE"], "deploy", "gateway-api", "*.yaml")):
        with open(path) as f:
            crd = yaml.safe_load(f)["spec"]
        if crd["names"]["kind"] == one["kind"]:
            served = next(v for v in crd["versions"] if v["name"] == one["apiVersion"].split("/")[1])
            broken = list(jsonschema.Draft202012Validator(closed(served["schema"]["openAPIV3Schema"])).iter_errors(one))
            return "; ".join(f"{error.json_path}: {error.message}" for error in broken) or None
    return "no schema"


def problem(one, version):
    """What is wrong with an object, or None."""
    try:
        if one["kind"] in CUSTOM:
            read = CUSTOM[one["kind"]].model_validate(one)
            unknown = unknown_keys(one, read.model_dump(mode="json", by_alias=True, exclude_unset=True))
            return f"unknown keys {unknown}" if unknown else None
        if one["apiVersion"].startswith("gateway.networking.k8s.io/"):
            broken = gateway_api(one)
            return f"{one['kind']} {one['metadata']['name']}: {broken}" if broken else None
        kubernetes_validate.validate(one, version, strict=True)
    except Exception as error:  # each library has its own
        return f"{one['kind']} {one['metadata']['name']}: {str(error)[:300]}"
    return None


def compose_problem(text):
    """What is wrong with a compose file, or None. Variables are replaced by their defaults first, as compose does."""
    text = re.sub(r"\$\{(\w+)(?::?-([^}]*)|:?\?[^}]*)?\}", lambda m: m[2] or "value", text)
    try:
        PyCompose.from_yaml(text)
    except Exception as error:
        return str(error)
    return None
