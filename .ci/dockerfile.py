"""dockerfile.py [--binary FILE]: the steps of the Dockerfile without a container engine, and a run of their result.

Each stage gets a root folder: the build stage a copy-on-write view of this machine, which must have the Rust and the
Debian that its base image names; the last stage a folder of the Debian packages of which its base image consists. RUN
and COPY are carried out there. `--binary` stands for the result of the build step, which takes a quarter of an hour.
Every step that is replaced is named at the end; an instruction that this script does not know is an error. Needs root.
"""
import argparse
import fcntl
import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD_STEP = ".ci/build_release.sh"
DOCKERFILES = (ROOT / "Dockerfile", ROOT / "deploy/recogniser/Dockerfile")
# a version of three numbers, or a tag of distroless, which has no versions; and a digest
PINNED = re.compile(r"((?:rust|python):\d+\.\d+\.\d+-slim-\w+|gcr\.io/distroless/[\w-]+:nonroot)@sha256:[0-9a-f]{64}")
# https://github.com/GoogleContainerTools/distroless/blob/main/cc/README.md, and of base-debian12 what a static check needs
DISTROLESS = {"gcr.io/distroless/cc-debian12:nonroot": ("base-files", "ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "netbase", "tzdata")}
replaced = []


def loud(text):
    replaced.append(text)
    print(f"  !!!! {text}", flush=True)


def stop(text):
    sys.exit(f"dockerfile: {text}")


def check(what, holds, detail=""):
    print(f"  {'ok  ' if holds else 'FAIL'} {what}", flush=True)
    if not holds:
        stop(f"{what}: {detail}")


def instructions(text):
    """[(name, arguments)] without comments; continued lines are one."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


def pinned(text):
    """The base images of a Dockerfile without their digests; an image that is not pinned ends the script."""
    images = [arguments.split()[0] for name, arguments in instructions(text) if name == "FROM"]
    free = [image for image in images if not PINNED.fullmatch(image)]
    if free or "# syntax=" in text:
        stop(f"an exact version and a digest (docs/how-to/release.md) are missing: {free or 'syntax is another image'}")
    return [image.partition("@")[0] for image in images]


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def context(folder):
    """The files that `COPY . .` takes: those of git, without .dockerignore's."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().split() if not line.startswith("#")]
    known = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    for name in known.stdout.decode().split("\0"):
        parts = [name[:at.start()] for at in re.finditer("/", name)] + [name]
        if not name or not (ROOT / name).is_file() or any(fnmatch.fnmatch(part, one) for part in parts for one in ignored):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


class Stage:
    def __init__(self, image, name, place):
        self.image, self.name = image, name
        self.root = place / (name or "last") / "root"
        self.root.mkdir(parents=True)
        self.env, self.directory, self.user, self.entry, self.command, self.volumes = {}, "/", "0:0", [], [], []

    def below(self, path):
        path = path if path.startswith("/") else f"{self.directory}/{path}"
        return self.root / path.lstrip("/")

    def begin(self, argv, **options):
        """A command in this stage's root, as the stage's user."""
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), **self.env}
        return subprocess.Popen(["chroot", f"--userspec={self.user}", self.root, *argv], env=env, **options)

    def execute(self, argv):
        """The same, run to its end: (exit code, output)."""
        process = self.begin(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = process.communicate()[0]
        return process.returncode, said


def devices(root):
    run("mount", "-t", "tmpfs", "tmpfs", root / "dev")
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        run("mknod", "-m", "0666", root / "dev" / name, "c", "1", minor)
    (root / "dev/fd").symlink_to("/proc/self/fd")


def machine_root(stage, place):
    """A copy-on-write view of this machine, if it is what the image names."""
    rust, debian = re.fullmatch(r"rust:([\d.]+)-slim-(\w+)@.*", stage.image).groups()
    here = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    check(f"this machine has Rust {rust}", here == rust, here)
    release = Path("/etc/os-release").read_text()
    check(f"this machine is Debian {debian}", f"VERSION_CODENAME={debian}" in release)
    upper = place / "upper"
    upper.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", upper)
    for name in ("up", "work"):
        (upper / name).mkdir()
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper}/up,workdir={upper}/work", stage.root)
    run("mount", "-t", "proc", "proc", stage.root / "proc")
    devices(stage.root)
    loud(f"FROM {stage.image}: NOT FETCHED, a copy-on-write view of this machine stands for it")


def distroless_root(stage, place):
    """The packages of the image, unpacked, with the bundle of certificates and the user that it has."""
    debs = place / "debs"
    debs.mkdir()
    if not list(Path("/var/lib/apt/lists").glob("*Packages*")):
        run("apt-get", "update", "-q", stdout=subprocess.DEVNULL)
    packages = DISTROLESS[stage.image.partition("@")[0]]
    run("apt-get", "-o", "APT::Sandbox::User=root", "download", "-q", *packages, cwd=debs, stdout=subprocess.DEVNULL)
    for deb in sorted(debs.iterdir()):
        run("dpkg-deb", "-x", deb, stage.root)
    certificates = sorted((stage.root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = stage.root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(one.read_bytes() for one in certificates))
    (stage.root / "etc/passwd").write_text("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
    if not (stage.root / "lib64").exists():
        (stage.root / "lib64").symlink_to("usr/lib64")
    loud(f"FROM {stage.image}: NOT FETCHED, the Debian packages {', '.join(packages)} stand for it")


def copy(stage, stages, arguments):
    words = shlex.split(arguments)
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    source, target = [word for word in words if not word.startswith("--")]
    if "from" not in flags:
        check("COPY of the context takes everything", source == ".", source)
        return context(stage.below(target))
    at, to = stages[flags["from"]].below(source), stage.below(target)
    to.parent.mkdir(parents=True, exist_ok=True)
    run("cp", "-a", f"{at}/." if at.is_dir() else at, to)
    owner = flags.get("chown", "0:0")
    # an engine sets the owner of what is copied, not of what was there
    for made in ([to / one.relative_to(at) for one in at.rglob("*")] if at.is_dir() else [to]):
        run("chown", "-h", owner, made)


def execute(stage, arguments, caches, binary):
    mounts = re.findall(r"--mount=type=cache,target=(\S+)", arguments)
    shell = re.sub(r"--mount=\S+\s+", "", arguments)
    if BUILD_STEP in shell and binary:
        shutil.copy(binary, stage.root / "tollgate")
        run("strip", stage.root / "tollgate")
        return loud(f"RUN {shell}: NOT RUN, {binary} stands for its result")
    for target in mounts:
        # the image keeps cargo's files in /usr/local, this machine in its own folder
        kept = caches / target.strip("/").replace("/", "-")
        kept.mkdir(parents=True, exist_ok=True)
        at = stage.below(target)
        at.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", kept, at)
    code, said = stage.execute(["/bin/sh", "-c", f"cd {stage.directory} && {shell}"])
    check(f"RUN {shell[:90]}", code == 0, said[-4000:])
    for target in reversed(mounts):
        run("umount", stage.below(target))


def steps(place, binary):
    stages, stage = {}, None
    for name, arguments in instructions((ROOT / "Dockerfile").read_text()):
        if name == "FROM":
            words = arguments.split()
            stage = Stage(words[0], words[2] if len(words) == 3 else None, place)
            stages[stage.name] = stage
            if words[0].partition("@")[0] in DISTROLESS:
                distroless_root(stage, stage.root.parent)
            elif words[0].startswith("rust:"):
                machine_root(stage, stage.root.parent)
            else:
                stop(f"nothing here stands for the image {words[0]}")
        elif name == "RUN":
            execute(stage, arguments, ROOT / "target/image-cache", binary)
        elif name == "COPY":
            copy(stage, stages, arguments)
            print(f"  ok   COPY {arguments}", flush=True)
        elif name == "WORKDIR":
            stage.directory = arguments
            stage.below(arguments).mkdir(parents=True, exist_ok=True)
        elif name in ("ARG", "ENV"):
            key, given, value = arguments.partition("=")
            stage.env.update({key: value} if given else {})
        elif name == "USER":
            stage.user = arguments
        elif name == "VOLUME":
            stage.volumes = json.loads(arguments)
        elif name == "ENTRYPOINT":
            stage.entry = json.loads(arguments)
        elif name == "CMD":
            stage.command = json.loads(arguments)
        elif name != "EXPOSE":
            stop(f"{name} {arguments}: this script does not know the instruction")
    return stage


CONFIG = """
receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: "127.0.0.1:{http}" }} }} }} }}
exporters: {{ debug: {{ trust: internal }} }}
extensions: {{ health_check: {{ endpoint: "127.0.0.1:{health}" }} }}
spool: {{ directory: /var/lib/tollgate/spool, max_size: 256MiB }}
service:
  extensions: [health_check]
  pipelines: {{ logs: {{ receivers: [otlp], exporters: [debug] }} }}
"""


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def try_image(image, version):
    """The image's own entry point and command, as its user, with a read-only root and a writable volume."""
    check("it does not run as root", image.user == "65532:65532", image.user)
    for name in ("bin/sh", "usr/bin/sh", "bin/bash", "usr/bin/apt-get", "usr/bin/dpkg"):
        check(f"it has no /{name}", not (image.root / name).exists())
    check("it has CA certificates", (image.root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 100)
    sbom = json.loads((image.root / "usr/share/doc/tollgate/tollgate.cdx.json").read_text())
    check("it has its SBOM", sbom["metadata"]["component"]["version"] == version and len(sbom["components"]) > 200)
    health = port()
    (image.root / "etc/tollgate").mkdir()
    (image.root / "etc/tollgate/config.yaml").write_text(CONFIG.format(http=port(), health=health))
    for name in ("dev", "proc", "tmp"):
        (image.root / name).mkdir(exist_ok=True)
    devices(image.root)
    run("mount", "-t", "proc", "proc", image.root / "proc")
    # as an engine does: the rest is read-only, the volume keeps owner and mode of its folder
    run("mount", "--bind", image.root, image.root)
    for volume in image.volumes:
        run("mount", "--bind", image.below(volume), image.below(volume))
    run("mount", "-o", "remount,bind,ro", image.root)
    _, said = image.execute([*image.entry, "--version"])
    check("its entry point runs with its libraries alone", said == f"tollgate {version}\n", said)
    code, said = image.execute([*image.entry, "validate", *image.command[1:]])
    check("it validates a configuration", code == 0, said)
    process = image.begin([*image.entry, *image.command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ready, end = False, time.monotonic() + 30
    while not ready and process.poll() is None and time.monotonic() < end:
        try:
            ready = urllib.request.urlopen(f"http://127.0.0.1:{health}/", timeout=2).status == 200
        except OSError:
            time.sleep(0.1)
    owner = (image.root / "var/lib/tollgate/spool").stat().st_uid if ready else None
    process.terminate()
    said = process.communicate(timeout=30)[0]
    check("its command runs, and is healthy", ready, said)
    check("the volume belongs to its user", owner == 65532, owner)
    check("SIGTERM ends it well", process.returncode == 0, said)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=Path)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.place is None:
        for path in DOCKERFILES:
            print(f"  ok   pinned: {', '.join(pinned(path.read_text()))}", flush=True)
        # Mounts are made in a namespace of their own and end with it. Nothing is removed there: only the empty mount point, here.
        cache = Path(os.environ.get("PEERS_CACHE") or ROOT / "target/peers")
        cache.mkdir(parents=True, exist_ok=True)
        # the view of this machine must not change: meanwhile no part of tests/peers installs
        lock = open(cache / ".install.lock", "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = tempfile.mkdtemp(prefix="tollgate-image-")
        code = subprocess.call(["unshare", "--mount", sys.executable, *sys.argv, "--place", place])
        os.rmdir(place)
        sys.exit(code)
    version = re.search(r'^version = "([^"]+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    run("mount", "-t", "tmpfs", "tmpfs", options.place)
    image = steps(options.place, options.binary.resolve() if options.binary else None)
    try_image(image, version)
    print("dockerfile: ok, but for what was replaced:\n  " + "\n  ".join(replaced))


if __name__ == "__main__":
    main()
