"""`.ci/release.sh` calls this script:

release.py --dry-run [--binary FILE] [--quick]      everything a release needs, signed with a throw-away key
release.py --key FILE --maintainer 'NAME <ADDRESS>'    the release itself (docs/how-to/release.md)

Checks versions and changelog, builds what this machine can build, packs it, tries the packages and signs the
checksums, all below target/release-plan. What this machine can't make is named in the table at the end.
`--binary` packs a binary that exists (CI: the debug build) and `--quick` hardly compresses. The trial installation
needs root.
"""
import argparse
import email.utils
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "release-plan"
PACKAGES = ROOT / "deploy" / "packages"
SIGNER, NAMESPACE = "release@tollgate", "tollgate-release"
# target: its linker, its architecture at Debian, at RPM. Each is packed on a machine that can run it.
TARGETS = {
    "x86_64-unknown-linux-gnu": ("cc", "amd64", "x86_64"),
    "aarch64-unknown-linux-gnu": ("cc", "arm64", "aarch64"),
    "x86_64-unknown-linux-musl": ("musl-gcc", None, None),
    "aarch64-unknown-linux-musl": ("musl-gcc", None, None),
    "aarch64-apple-darwin": ("cc", None, None),
}
# files that name the release, and the expression that finds its version
VERSIONED = (
    ("deploy/helm/tollgate/Chart.yaml", r'^version: ([^\s"]+)$'),
    ("deploy/helm/tollgate/Chart.yaml", r'^appVersion: "([^"]+)"$'),
    ("deploy/compose/compose.yaml", r"tollgate:([\w.-]+)\}"),
    ("deploy/kubernetes/sidecar.yaml", r"image: \S*/tollgate:(\S+)"),
    ("deploy/kubernetes/operator.yaml", r"image: \S*/tollgate:(\S+)"),
    ("deploy/kustomize/base/gateway.yaml", r"image: \S*/tollgate:(\S+)"),
    ("deploy/kustomize/example/kustomization.yaml", r"newTag: ([\w.-]+)"),
)
table, failures = [], []


def say(text):
    print(text, flush=True)


def row(name, result):
    table.append((name, result))
    say(f"  {name}: {result}")


def check(what, holds, detail=""):
    if not holds:
        failures.append(what)
    say(f"  {'ok  ' if holds else 'FAIL'} {what}" + (f": {detail}" if detail and not holds else ""))


def run(*command, **options):
    """stdout of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"release: {' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return done.stdout


# ---- checks before the build ---------------------------------------------------------------------------------------

def cargo_version():
    return re.search(r'^version = "([^"]+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]


def version_problems(version, read=lambda name: (ROOT / name).read_text()):
    """Files that name another version than Cargo.toml, or none."""
    problems = []
    for name, pattern in VERSIONED:
        found = re.findall(pattern, read(name), re.M)
        problems += [f"{name} has {one}" for one in found if one != version] or ([] if found else [f"{name} has no version"])
    return problems


def changelog_section(version, text):
    """The section of a version with its date, or None."""
    found = re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return found[1].strip() if found else None


def checked(version, dry_run):
    say(f"release: tollgate {version}")
    problems = version_problems(version)
    check("every file names the version of Cargo.toml", not problems, "; ".join(problems))
    text = (ROOT / "CHANGELOG.md").read_text()
    section = changelog_section(version, text)
    check(f"the changelog has a dated section {version}", bool(section))
    bullets = len(re.findall(r"^- ", section or "", re.M))
    check("the section has at most thirty bullets", 0 < bullets <= 30, bullets)
    unreleased = re.search(r"^## Unreleased\n(.*?)(?=^## )", text, re.M | re.S)
    if not dry_run:
        check("nothing is left under Unreleased", not (unreleased and unreleased[1].strip()))
        check("no file differs from the commit", not run("git", "status", "--porcelain", cwd=ROOT))
        tag = subprocess.run(["git", "describe", "--exact-match", "--tags"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        check(f"the commit has the tag v{version}", tag == f"v{version}", tag)
        check("deploy/packages/allowed_signers has the keys (docs/how-to/release.md)", (PACKAGES / "allowed_signers").is_file())
    can_fail(version, text)
    if failures:
        sys.exit(f"release: {len(failures)} checks failed")


def can_fail(version, text):
    """The checks above see a wrong version in each file, and a section that is missing or has no date."""
    for name, _ in VERSIONED:
        changed = lambda one, name=name: (ROOT / one).read_text().replace(version, "9.9.9") if one == name else (ROOT / one).read_text()  # noqa: E731
        assert any(problem.startswith(name) for problem in version_problems(version, changed)), name
    assert changelog_section("9.9.9", text) is None and changelog_section(version, text.replace(f"{version} - 20", f"{version} 20")) is None


# ---- what is packed ------------------------------------------------------------------------------------------------

def host():
    return re.search(r"^host: (.*)$", run("rustc", "-vV"), re.M)[1]


def missing(target):
    """Why a target can't be built here, or None."""
    linker = TARGETS[target][0]
    if target.split("-")[:3:2] != host().split("-")[:3:2]:
        return "needs a machine of its own kind" + (f" ({target.split('-')[0]})" if "linux" in target else " (a Mac)")
    library = Path(run("rustc", "--print", "target-libdir", "--target", target).strip())
    if not library.is_dir():
        return f"no standard library here: rustup target add {target}"
    return None if shutil.which(linker) else f"no linker here: {linker}"


def built(target):
    """Builds a target; its binary."""
    linker = TARGETS[target][0]
    variable = f"CARGO_TARGET_{target.upper().replace('-', '_')}_LINKER"
    binary = OUT / "trees" / target / "tollgate"
    binary.parent.mkdir(parents=True)
    subprocess.run([ROOT / ".ci" / "build_release.sh", binary], check=True, env={**os.environ, "TARGET": target, variable: linker})
    return binary


def manual(binary):
    """tollgate(1) from the binary's own help."""
    def dashed(text):
        return text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")

    said = run(binary, "--help")
    description, rest = said.split("\n\nUsage:", 1)
    lines = [f'.TH TOLLGATE 1 "" "{run(binary, "--version").strip()}" "User Commands"', ".SH NAME",
             "tollgate \\- OpenTelemetry gateway for AI agents", ".SH SYNOPSIS", ".B tollgate", "[\\fIOPTIONS\\fR] [\\fICOMMAND\\fR]",
             ".SH DESCRIPTION", dashed(description) + ".", ".SH COMMANDS"]
    for name, text in re.findall(r"^  ([a-z-]+) {2,}(.*)$", rest.split("Options:")[0], re.M):
        lines += [".TP", f"\\fB{dashed(name)}\\fR", dashed(text) + "."]
    lines.append(".SH OPTIONS")
    for name, text in re.findall(r"^ +(-.*?) {2,}(.*)$", rest.split("Options:")[1], re.M):
        lines += [".TP", f"\\fB{dashed(name)}\\fR", dashed(text) + "."]
    lines += [".SH EXIT STATUS", ".TP", "0", "Success.", ".TP", "1", "A failure while running.", ".TP", "2", "Wrong usage.", ".TP", "78",
              "The configuration can\\(aqt be used.", ".SH FILES", ".TP", ".I /etc/tollgate/tollgate.yaml",
              "The configuration of the service.", ".TP", ".I /var/lib/tollgate", "Spool, history and, by default, the vault.", ".SH SEE ALSO",
              "\\fBtollgate help\\fR \\fICOMMAND\\fR prints the options of a command."]
    return "\n".join(lines) + "\n"


def laid_out(target, binary, folder, sbom, notices, not_built_here):
    """The files of a target with the paths that they have once installed."""

    def put(path, contents, mode=0o644):
        at = folder / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
        at.chmod(mode)

    put("usr/bin/tollgate", binary.read_bytes(), 0o755)
    if not_built_here:
        run("strip", folder / "usr/bin/tollgate")
    put("usr/share/man/man1/tollgate.1.gz", gzip.compress(manual(binary).encode(), 9, mtime=0))
    for shell, path in (("bash", "bash-completion/completions/tollgate"), ("zsh", "zsh/vendor-completions/_tollgate"),
                        ("fish", "fish/vendor_completions.d/tollgate.fish")):
        put(f"usr/share/{path}", run(binary, "completions", shell))
    put("etc/tollgate/tollgate.yaml", (ROOT / "deploy/systemd/tollgate.yaml").read_bytes())
    (folder / "etc/tollgate/secrets").mkdir(mode=0o700)
    unit = (ROOT / "deploy/systemd/tollgate.service").read_text()
    put("usr/lib/systemd/system/tollgate.service", unit.replace("/usr/local/bin/tollgate", "/usr/bin/tollgate"))
    put("usr/lib/sysusers.d/tollgate.conf", (PACKAGES / "sysusers.conf").read_bytes())
    documents = folder / "usr/share/doc/tollgate"
    documents.mkdir(parents=True)
    for name in ("README.md", "CHANGELOG.md", "SECURITY.md"):
        shutil.copy(ROOT / name, documents)
    put("usr/share/doc/tollgate/tollgate.cdx.json", sbom)
    put("usr/share/doc/tollgate/LICENSES-of-crates.txt.gz", gzip.compress(notices.encode(), 9, mtime=0))
    put("usr/share/doc/tollgate/schema.json", (ROOT / "config/schema.json").read_bytes())
    put("usr/share/doc/tollgate/default.yaml", (ROOT / "config/default.yaml").read_bytes())
    return folder


def tarball(tree, path, quick):
    """All files in one folder, with owners and times that do not depend on the machine."""
    raw = io.BytesIO()
    name = path.name.removesuffix(".tar.gz")
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for source, to in (("usr/bin/tollgate", "tollgate"), ("etc/tollgate/tollgate.yaml", "systemd/tollgate.yaml"),
                           ("usr/lib/systemd/system/tollgate.service", "systemd/tollgate.service"), ("usr/share/man/man1/tollgate.1.gz", "tollgate.1.gz"),
                           ("usr/share/bash-completion/completions/tollgate", "completions/tollgate.bash"),
                           ("usr/share/zsh/vendor-completions/_tollgate", "completions/_tollgate"),
                           ("usr/share/fish/vendor_completions.d/tollgate.fish", "completions/tollgate.fish"),
                           *((f"usr/share/doc/tollgate/{one.name}", one.name) for one in sorted((tree / "usr/share/doc/tollgate").iterdir())),
                           (ROOT / "LICENSE", "LICENSE")):
            info = tar.gettarinfo(tree / source, f"{name}/{to}")
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(os.environ["SOURCE_DATE_EPOCH"])
            with open(tree / source, "rb") as f:
                tar.addfile(info, f)
    path.write_bytes(gzip.compress(raw.getvalue(), 0 if quick else 9, mtime=0))


def glibc(binary):
    """The oldest glibc that has every symbol of the binary."""
    return max(re.findall(r"GLIBC_([\d.]+)", run("objdump", "-T", binary)), key=lambda v: [int(n) for n in v.split(".")])


def debian(tree, version, architecture, maintainer, quick):
    control = tree.parent / "debian-tree"
    shutil.rmtree(control, ignore_errors=True)
    shutil.copytree(tree, control)
    size = sum(path.stat().st_size for path in control.rglob("*") if path.is_file()) // 1024
    (control / "DEBIAN").mkdir()
    (control / "DEBIAN/control").write_text(
        f"Package: tollgate\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: {maintainer}\nInstalled-Size: {size}\n"
        f"Depends: libc6 (>= {glibc(tree / 'usr/bin/tollgate')}), libgcc-s1, ca-certificates, systemd | systemd-standalone-sysusers\n"
        "Section: net\nPriority: optional\nDescription: OpenTelemetry gateway for AI agents\n tollgate receives OTLP from AI agents and sends OTLP to "
        "back ends. In between\n it moves content into an encrypted, write-once vault, redacts private text,\n prices each model call and follows runs.\n")
    (control / "DEBIAN/conffiles").write_text("/etc/tollgate/tollgate.yaml\n")
    for name in ("postinst", "prerm", "postrm"):
        shutil.copy(PACKAGES / "debian" / name, control / "DEBIAN")
    overrides = control / "usr/share/lintian/overrides/tollgate"
    overrides.parent.mkdir(parents=True)
    shutil.copyfile(PACKAGES / "debian/lintian-overrides", overrides)
    documents = control / "usr/share/doc/tollgate"
    (documents / "copyright").write_text(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: 2026 the tollgate authors\nLicense: Apache-2.0\n"
        " See /usr/share/common-licenses/Apache-2.0. The licences of the crates in the\n binary are in LICENSES-of-crates.txt.gz beside this file.\n")
    stamp = email.utils.formatdate(int(os.environ["SOURCE_DATE_EPOCH"]))
    entry = f"tollgate ({version}) stable; urgency=medium\n\n  * CHANGELOG.md in this folder has the changes.\n\n -- {maintainer}  {stamp}\n"
    (documents / "changelog.gz").write_bytes(gzip.compress(entry.encode(), 9, mtime=0))
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(control)}\n" for path in sorted(control.rglob("*"))
            if path.is_file() and path.relative_to(control).parts[0] not in ("DEBIAN", "etc")]
    (control / "DEBIAN/md5sums").write_text("".join(sums))
    for path in control.rglob("*"):
        if path.is_dir() and path.name != "secrets":
            path.chmod(0o755)
    package = OUT / f"tollgate_{version}_{architecture}.deb"
    run("dpkg-deb", "--root-owner-group", *(["-Zgzip", "-z1"] if quick else ["-Zxz"]), "--build", control, package)
    return package


def rpm(tree, version, architecture, quick):
    top = tree.parent / "rpmbuild"
    shutil.rmtree(top, ignore_errors=True)
    shutil.copyfile(ROOT / "LICENSE", tree / "usr/share/doc/tollgate/LICENSE")
    run("rpmbuild", "-bb", "--target", architecture, "--define", f"_topdir {top}", "--define", f"tree {tree}", "--define", f"release_version {version}",
        "--define", "use_source_date_epoch_as_buildtime 1", "--define", "clamp_mtime_to_source_date_epoch 1", "--define", "_buildhost release",
        "--define", "__os_install_post %{nil}", "--define", "_build_id_links none", "--define", f"_binary_payload w{1 if quick else 19}.zstdio",
        PACKAGES / "tollgate.spec")
    (made,) = (top / "RPMS").rglob("*.rpm")
    return Path(shutil.move(made, OUT / made.name))


# ---- trials --------------------------------------------------------------------------------------------------------

TRIAL = r"""
set -eu
mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/dev"
mknod -m 0666 "$1/root/dev/null" c 1 3
mknod -m 0666 "$1/root/dev/urandom" c 1 9
cp "$2" "$1/root/tollgate.deb"
exec chroot "$1/root" /bin/sh -euc '
export DEBIAN_FRONTEND=noninteractive
dpkg -i /tollgate.deb > /dev/null
tollgate --version
getent passwd tollgate
mkdir -p /run/credentials/tollgate.service && cd /run/credentials/tollgate.service
for name in spool-key pseudonym-key; do head -c 32 /dev/urandom | base64 > $name; done
echo key > honeycomb-api-key
chmod 0600 *
export AUDITOR_1=$(tollgate vault keygen --output /tmp/a1) AUDITOR_2=$(tollgate vault keygen --output /tmp/a2)
tollgate validate --config /etc/tollgate/tollgate.yaml
systemd-analyze verify --man=no /usr/lib/systemd/system/tollgate.service
grep -q gateway /usr/share/bash-completion/completions/tollgate
MANWIDTH=80 man --warnings -l /usr/share/man/man1/tollgate.1.gz > /tmp/page && grep -q validate /tmp/page
echo "# changed" >> /etc/tollgate/tollgate.yaml
dpkg -i --force-confold /tollgate.deb > /dev/null
tail -1 /etc/tollgate/tollgate.yaml
mkdir -p /var/lib/tollgate && echo kept > /var/lib/tollgate/file
dpkg -r tollgate > /dev/null && test -f /etc/tollgate/tollgate.yaml && test ! -e /usr/bin/tollgate
dpkg -P tollgate > /dev/null && test ! -e /etc/tollgate/tollgate.yaml
cat /var/lib/tollgate/file
'
"""


def try_debian(package, version):
    """Installs, validates, upgrades, removes and purges in a copy-on-write root: this machine's own files stay as they are."""
    place = OUT / "trial"
    place.mkdir(exist_ok=True)
    done = subprocess.run(["unshare", "--mount", "bash", "-c", TRIAL, "trial", place, package], capture_output=True, text=True)
    said = done.stdout
    check(f"{package.name}: installs, validates its example, upgrades, is removed and purged", done.returncode == 0, said[-1500:] + done.stderr[-1500:])
    check(f"{package.name}: the binary's version", f"tollgate {version}" in said, said)
    check(f"{package.name}: a system user without a shell", re.search(r"^tollgate:.*:/var/lib/tollgate:/usr/sbin/nologin$", said, re.M), said)
    check(f"{package.name}: an upgrade keeps a changed configuration", "# changed" in said, said)
    check(f"{package.name}: the data stays after a purge", said.endswith("kept\n"), said)
    noted = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", package], capture_output=True, text=True)
    check(f"{package.name}: lintian", noted.returncode == 0, noted.stdout + noted.stderr)


def try_rpm(package, version):
    """Lists, unpacks and runs it: no RPM system is at hand to install it."""
    listed = run("rpm", "-qlp", "--nosignature", package).split()
    check(f"{package.name}: unit, configuration and page are in it", {"/usr/lib/systemd/system/tollgate.service", "/etc/tollgate/tollgate.yaml",
          "/usr/share/man/man1/tollgate.1.gz"} <= set(listed), listed)
    check(f"{package.name}: the example is a configuration file", "/etc/tollgate/tollgate.yaml" in run("rpm", "-qcp", package))
    place = OUT / "rpm-trial"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    subprocess.run(f"rpm2cpio '{package}' | cpio -idm --quiet", shell=True, cwd=place, check=True)
    check(f"{package.name}: the binary's version", f"tollgate {version}" in run(place / "usr/bin/tollgate", "--version"))
    check(f"{package.name}: the files of the Debian package", (place / "etc/tollgate/tollgate.yaml").read_bytes()
          == (ROOT / "deploy/systemd/tollgate.yaml").read_bytes())
    scripts = run("rpm", "-qp", "--scripts", package)
    for part in re.split(r"^\w+ scriptlet \(using /bin/sh\):$", scripts, flags=re.M)[1:]:
        run("sh", "-n", input=part)
    shutil.rmtree(place)


# ---- sums and signature --------------------------------------------------------------------------------------------

def signed(key):
    """SHA256SUMS over everything, and its signature."""
    names = sorted(path.name for path in OUT.iterdir() if path.is_file() and not path.name.startswith(("SHA256SUMS", "allowed_signers")))
    (OUT / "SHA256SUMS").write_text("".join(f"{hashlib.sha256((OUT / name).read_bytes()).hexdigest()}  {name}\n" for name in names))
    (OUT / "SHA256SUMS.sig").unlink(missing_ok=True)
    run("ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE, OUT / "SHA256SUMS")
    return names


def verified(names):
    """The commands of docs/how-to/verify-a-release.md, as they are there; each refuses what was changed."""
    page = (ROOT / "docs/how-to/verify-a-release.md").read_text()
    commands = re.findall(r"^\$ (.*)$", re.search(r"```console\n(.*?)```", page, re.S)[1], re.M)
    check("the page has the two commands", len(commands) == 2 and "ssh-keygen -Y verify" in commands[0], commands)

    def works(command, folder):
        return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True).returncode == 0

    check("signature and sums, with the documented commands", all(works(command, OUT) for command in commands))
    copy = OUT / "changed"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("SHA256SUMS", "SHA256SUMS.sig", "allowed_signers", *names):
        shutil.copy(OUT / name, copy)
    with open(copy / names[0], "ab") as f:
        f.write(b"x")
    check("a changed file is refused", works(commands[0], copy) and not works(commands[1], copy))
    with open(copy / "SHA256SUMS", "a") as f:
        f.write("\n")
    check("changed sums are refused", not works(commands[0], copy))
    shutil.copy(OUT / "SHA256SUMS", copy)
    (copy / "stranger").unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", copy / "stranger")
    (copy / "SHA256SUMS.sig").unlink()
    run("ssh-keygen", "-Y", "sign", "-f", copy / "stranger", "-n", NAMESPACE, copy / "SHA256SUMS")
    check("another key's signature is refused", not works(commands[0], copy))
    shutil.rmtree(copy)


def signing_key(options):
    """The key, with the list that verifies it in place."""
    if options.dry_run:
        key = OUT / "throw-away" / "key"
        key.parent.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "dry run", "-f", key)
        public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        (OUT / "allowed_signers").write_text(f'{SIGNER} namespaces="{NAMESPACE}" {public}\n')
        return key
    shutil.copy(PACKAGES / "allowed_signers", OUT)
    return options.key


def chart(version):
    helm = shutil.which("helm") or Path(os.environ.get("PEERS_CACHE") or ROOT / "target/peers") / "deploy/bin/helm"
    if not Path(helm).exists():
        return row("Helm chart", "NOT MADE HERE: no helm (tests/peers/deploy/install.sh builds it)")
    run(helm, "package", ROOT / "deploy/helm/tollgate", "--destination", OUT)
    row("Helm chart", f"tollgate-{version}.tgz")


def packed(target, binary, version, options):
    sbom = run(sys.executable, ROOT / ".ci/sbom.py", "--target", target)
    check("the SBOM is the same twice", sbom == run(sys.executable, ROOT / ".ci/sbom.py", "--target", target))
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    wrong = validator.validate_str(sbom)
    check("the SBOM keeps CycloneDX's schema", wrong is None, str(wrong)[:500])
    check("the schema refuses an unknown scope", validator.validate_str(sbom.replace('"required"', '"bogus"', 1)) is not None)
    (OUT / f"tollgate-{version}-{target}.cdx.json").write_text(sbom)
    notices = run(sys.executable, ROOT / ".ci/sbom.py", "--target", target, "--notices")
    tree = laid_out(target, binary, OUT / "trees" / target / "tree", sbom, notices, bool(options.binary))
    archive = OUT / f"tollgate-{version}-{target}.tar.gz"
    tarball(tree, archive, options.quick)
    made = [archive.name]
    _, deb, redhat = TARGETS[target]
    if deb:
        package = debian(tree, version, deb, options.maintainer, options.quick)
        try_debian(package, version)
        made.append(package.name)
        package = rpm(tree, version, redhat, options.quick)
        try_rpm(package, version)
        made.append(package.name)
    row(target, ", ".join(made))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--binary", type=Path, help="dry run only: a binary of this machine's target, instead of a build")
    parser.add_argument("--quick", action="store_true", help="dry run only: hardly compress")
    parser.add_argument("--key", type=Path, help="ssh key that signs")
    parser.add_argument("--maintainer", help="'NAME <ADDRESS>' for the packages")
    options = parser.parse_args()
    if not options.dry_run and (options.binary or options.quick or not options.key or not options.maintainer):
        parser.error("a release needs --key and --maintainer, and takes neither --binary nor --quick; or pass --dry-run")
    options.maintainer = options.maintainer or "Dry Run <dry-run@example.org>"
    os.umask(0o022)
    version = cargo_version()
    os.environ.setdefault("SOURCE_DATE_EPOCH", run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip())
    checked(version, options.dry_run)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for target in TARGETS:
        why = missing(target)
        if options.binary and target == host():
            packed(target, options.binary, version, options)
        elif why or options.binary:
            row(target, f"NOT MADE HERE: {why or 'only the given binary is packed'}")
        else:
            packed(target, built(target), version, options)
    chart(version)
    row("container image", "NOT MADE HERE: `docker buildx build` does it where an engine runs (docs/how-to/release.md)")
    names = signed(signing_key(options))
    verified(names)
    for name in ("trees", "trial"):
        shutil.rmtree(OUT / name, ignore_errors=True)
    shutil.rmtree(OUT / "throw-away", ignore_errors=True)
    say(f"\nRelease plan of tollgate {version}, in {OUT.relative_to(ROOT)}:")
    for name, result in table:
        say(f"  {name:30} {result}")
    say("Packed: " + (f"{options.binary}, NOT A RELEASE BUILD" if options.binary else "release builds of this commit"))
    say("Signed with: " + ("a throw-away key that no longer exists" if options.dry_run else str(options.key)))
    if failures:
        sys.exit(f"release: {len(failures)} checks failed: {'; '.join(failures)}")


if __name__ == "__main__":
    main()
