"""A keystore of SROS 2, made with OpenSSL: certificates and signed permissions of every enclave.

KEYSTORE/public/   ca.cert.pem, identity_ca.cert.pem, permissions_ca.cert.pem
        /private/  ca.key.pem, …: whoever has it can let anybody in. Needed to add enclaves only: keep it elsewhere
        /enclaves/ governance.xml, governance.p7s
        /enclaves/gr2/NAME/  cert.pem, key.pem, permissions.xml, permissions.p7s, and copies of the public parts
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from gr2_bringup.contracts import Contract
from gr2_bringup.security.documents import governance, permissions, policy, rights

CURVE = "prime256v1"
NEEDED = (
    "cert.pem",
    "key.pem",
    "governance.p7s",
    "permissions.p7s",
    "identity_ca.cert.pem",
    "permissions_ca.cert.pem",
)
"""What a process needs in its enclave."""


class KeystoreError(RuntimeError):
    """A keystore cannot be made or used; the message says what to do."""


@dataclass(frozen=True)
class Enclave:
    """One process' place in the keystore.

    Attributes:
        path: e.g. ``/gr2/wbc``.
        node: name of the node in it; ``*``: several.
        contract: what it may say and hear.
    """

    path: str
    node: str
    contract: Contract


def create(folder: Path, enclaves: list[Enclave], domain: int, days: int) -> None:
    """Make a new keystore, aside first; it appears as a whole or not at all.

    Args:
        folder: where; it must not exist.
        enclaves: of all processes.
        domain: ROS domain that it is for.
        days: for which certificates and permissions are valid.

    Raises:
        KeystoreError: it exists, or OpenSSL is missing or fails.
    """
    if folder.exists():
        raise KeystoreError(f"{folder} exists; a keystore is never overwritten: move it away, or name another folder")
    if shutil.which("openssl") is None:
        raise KeystoreError("the command openssl is missing: apt install openssl")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _make_authority(aside, days)
        (aside / "enclaves").mkdir()
        _signed(aside, aside / "enclaves" / "governance", governance(domain))
        begin = datetime.now(UTC)
        for enclave in enclaves:
            _make_enclave(aside, enclave, domain, begin, begin + timedelta(days=days))
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def verify(folder: Path, paths: list[str], domain: int | None = None) -> None:
    """Make sure that a keystore lets these enclaves start: files, signatures, dates.

    Args:
        folder: the keystore.
        paths: of the enclaves.
        domain: ROS domain that it has to be for; None: any.

    Raises:
        KeystoreError: it does not.
    """
    if not (folder / "enclaves").is_dir():
        raise KeystoreError(f"{folder} is no keystore; make one with: ./gr2 keystore {folder}")
    for path in paths:
        place = folder / "enclaves" / path.lstrip("/")
        missing = [name for name in NEEDED if not (place / name).is_file()]
        if missing:
            raise KeystoreError(f"enclave {path} in {folder} lacks {', '.join(missing)}; make the keystore anew")
        _run("verify", "-CAfile", str(place / "identity_ca.cert.pem"), str(place / "cert.pem"))
        subject = _run("x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", str(place / "cert.pem")).strip()
        if subject != f"subject=CN={path}":
            raise KeystoreError(f"the certificate in {place} is of '{subject}', expected CN={path}")
        for name in ("governance", "permissions"):
            authority = str(place / "permissions_ca.cert.pem")
            signed = _run("smime", "-verify", "-text", "-in", str(place / f"{name}.p7s"), "-CAfile", authority)
            _check(path, name, ElementTree.fromstring(signed.strip()), domain)


def _check(path: str, name: str, document: ElementTree.Element, domain: int | None) -> None:
    """Dates and domain of a signed document."""
    end = document.findtext(".//not_after")
    if end is not None and datetime.fromisoformat(end).replace(tzinfo=UTC) < datetime.now(UTC):
        raise KeystoreError(f"{name} of enclave {path} ended at {end}: make the keystore anew")
    found = document.findtext(".//domains/id")
    if domain is not None and found != str(domain):
        raise KeystoreError(f"{name} of enclave {path} is for ROS domain {found}, not {domain}: make another keystore")


def environment(folder: Path) -> dict[str, str]:
    """Environment of a process that must not start, or talk, without security."""
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(folder.absolute()),
    }


def _make_authority(root: Path, days: int) -> None:
    public, private = root / "public", root / "private"
    public.mkdir()
    private.mkdir(mode=0o700)
    key, certificate = private / "ca.key.pem", public / "ca.cert.pem"
    _key(key)
    _run(
        *("req", "-x509", "-new", "-sha256", "-key", str(key), "-subj", "/CN=gr2CA", "-days", str(days)),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature", "-out", str(certificate)),
    )
    for kind in ("identity_ca", "permissions_ca"):
        (private / f"{kind}.key.pem").symlink_to("ca.key.pem")
        (public / f"{kind}.cert.pem").symlink_to("ca.cert.pem")


def _make_enclave(root: Path, enclave: Enclave, domain: int, begin: datetime, end: datetime) -> None:
    place = root / "enclaves" / enclave.path.lstrip("/")
    place.mkdir(parents=True)
    _key(place / "key.pem")
    request, days = place / "request.pem", (end - begin).days
    subject = "/CN=" + enclave.path.replace("/", "\\/")
    _run("req", "-new", "-sha256", "-key", str(place / "key.pem"), "-subj", subject, "-out", str(request))
    _run(
        *("x509", "-req", "-sha256", "-in", str(request), "-CA", str(root / "public" / "ca.cert.pem")),
        *("-CAkey", str(root / "private" / "ca.key.pem"), "-set_serial", f"0x{os.urandom(8).hex()}"),
        *("-days", str(days), "-out", str(place / "cert.pem")),
    )
    request.unlink()
    document = permissions(enclave.path, rights(enclave.contract, enclave.node), domain, begin, end)
    _signed(root, place / "permissions", document)
    (place / "policy.xml").write_text(policy(enclave.path, enclave.node, enclave.contract), encoding="utf-8")
    shutil.copyfile(root / "enclaves" / "governance.p7s", place / "governance.p7s")
    for kind in ("identity_ca", "permissions_ca"):
        shutil.copyfile(root / "public" / "ca.cert.pem", place / f"{kind}.cert.pem")


def _key(path: Path) -> None:
    path.touch(mode=0o600)
    _run("ecparam", "-name", CURVE, "-genkey", "-noout", "-out", str(path))


def _signed(root: Path, stem: Path, document: str) -> None:
    """Write a document and its S/MIME signature by the permissions authority."""
    plain = stem.with_suffix(".xml")
    plain.write_text(document, encoding="utf-8")
    _run(
        *("smime", "-sign", "-text", "-in", str(plain), "-out", str(stem.with_suffix(".p7s"))),
        *("-signer", str(root / "public" / "ca.cert.pem"), "-inkey", str(root / "private" / "ca.key.pem")),
    )


def _run(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KeystoreError(f"openssl {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout
