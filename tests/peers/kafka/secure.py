"""A broker with TLS, every kind of credential that the settings know, and access rules: what `docs/how-to/fleet.md` lists and nothing else."""
import base64
import json
import os
import subprocess
import time

from harness import free_port, read, write
from kafka.cluster import Cluster

PASSWORD = "a password of the test"
LOGIN = "org.apache.kafka.common.security"


def openssl(*arguments, **options):
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, **options)
    if done.returncode:
        raise AssertionError(f"openssl {arguments[0]}: {done.stderr[-300:]}")


class Authority:
    """A certificate authority and the files that it signs."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.ca = self.at("ca.pem")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.at("ca.key"), "-out", self.ca, "-days", "2", "-subj", "/CN=the test's authority")

    def at(self, name):
        return os.path.join(self.folder, name)

    def sign(self, name, expired=False):
        """(certificate, key) for 127.0.0.1 and the name."""
        key, request, certificate, extra = (self.at(f"{name}.{end}") for end in ("key", "csr", "pem", "ext"))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        write(extra, "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        if expired:
            # only this command takes dates in every version of OpenSSL
            write(self.at("ca.conf"), f"[ca]\ndefault_ca=test\n[test]\ndatabase={self.at('index')}\nrand_serial=yes\nnew_certs_dir={self.folder}\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=supplied\n")
            open(self.at("index"), "w").close()
            openssl("ca", "-batch", "-notext", "-config", self.at("ca.conf"), "-cert", self.ca, "-keyfile", self.at("ca.key"), "-in", request, "-out", certificate,
                    "-startdate", "200101000000Z", "-enddate", "200201000000Z", "-extfile", extra)
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.at("ca.key"), "-CAcreateserial", "-out", certificate, "-extfile", extra, "-days", "2")
        return certificate, key


def secure_cluster(folder, users):
    """(cluster, authority): a node whose SASL_SSL and SSL ports know these users and what each may do."""
    authority = Authority(os.path.join(folder, "tls"))
    certificate, key = authority.sign("broker")
    with open(authority.at("broker-store.pem"), "w") as store:
        for path in (key, certificate):
            store.write(read(path))
    known = " ".join(f'user_{name}="{PASSWORD}"' for name in users)
    settings = {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": authority.at("broker-store.pem"), "ssl.truststore.type": "PEM", "ssl.truststore.location": authority.ca,
        "listener.name.ssl.ssl.client.auth": "required", "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{LOGIN}.plain.PlainLoginModule required {known};",
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        # the broker's own token, which it never uses; the test's tokens are unsigned as well
        "listener.name.sasl_ssl.oauthbearer.sasl.jaas.config": f'{LOGIN}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
        # the tools of the test come by the port without TLS
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users": "User:ANONYMOUS",
    }
    cluster = Cluster(folder, 1, settings, ports={"SASL_SSL": free_port(), "SSL": free_port()})
    # one request may change one credential of a user
    for name, kind in ((name, kind) for name in users for kind in ("SCRAM-SHA-256", "SCRAM-SHA-512")):
        secret = f"{kind}=[password={PASSWORD}]"
        tool(cluster, "org.apache.kafka.tools.ConfigCommand", "--alter", "--add-config", secret, "--entity-type", "users", "--entity-name", name)
    return cluster, authority


def tool(cluster, main, *arguments):
    done = cluster.tool(main, *arguments)
    if done.returncode:
        raise AssertionError(f"{main}: {done.stdout[-300:]} {done.stderr[-300:]}")


def allow(cluster, name, operations, *resource):
    """Lets a user, and a certificate with that name, do this."""
    users = [part for user in (f"User:{name}", f"User:CN={name}") for part in ("--allow-principal", user)]
    named = [part for operation in operations for part in ("--operation", operation)]
    tool(cluster, "org.apache.kafka.tools.AclCommand", "--add", *users, *named, *resource)


def sasl(mechanism, username, password=PASSWORD):
    if mechanism == "OAUTHBEARER":
        return {"sasl": {"mechanism": mechanism, "token": token(username)}}
    return {"sasl": {"mechanism": mechanism, "username": username, "password": password}}


def token(subject):
    """An unsigned JSON web token."""
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")  # noqa: E731
    now = int(time.time())
    return f"{part({'alg': 'none'})}.{part({'sub': subject, 'iat': now, 'exp': now + 3600})}."
