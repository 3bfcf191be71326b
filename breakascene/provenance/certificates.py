"""Keys and certificates for content credentials (C2PA)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from breakascene.errors import UserError
from breakascene.files import atomic_file, write_private

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CERTIFICATES, PRIVATE_KEY = "certificates.pem", "private_key.pem"  # the chain starts with the signing certificate
DEFAULT_ORGANIZATION = "Break-A-Scene Studio"
LIFETIME = timedelta(days=5 * 365)


@dataclass(frozen=True)
class SigningIdentity:
    """An ES256 private key with its certificate chain, both as PEM."""

    certificates: str
    private_key: str

    @property
    def organization(self) -> str:
        from cryptography import x509
        from cryptography.x509.oid import NameOID

        names = x509.load_pem_x509_certificate(self.certificates.encode()).subject
        return next((name.value for name in names.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)), "")


def load_identity(folder: Path | str, organization: str = DEFAULT_ORGANIZATION) -> SigningIdentity:
    """Load the signing identity of a folder; an empty or missing folder gets a self-made one first.

    Args:
        folder: Holds certificates.pem, the chain from the signing certificate to the root, and private_key.pem, a P-256
            key as PKCS #8.
        organization: The organization named by a certificate that is made.

    Raises:
        UserError: If a file is missing or damaged, the two do not belong together, or the certificate has expired.
    """
    folder = Path(folder)
    if not (folder / PRIVATE_KEY).is_file():
        with _only_one(folder):
            missing = [name for name in (CERTIFICATES, PRIVATE_KEY) if not (folder / name).is_file()]
            if len(missing) == 2:
                create_identity(folder, organization)
    missing = [name for name in (CERTIFICATES, PRIVATE_KEY) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} has no {missing[0]}: add it, or give an empty folder for a new key.")
    identity = SigningIdentity(*((folder / name).read_text("ascii", "replace") for name in (CERTIFICATES, PRIVATE_KEY)))
    _check(identity, folder)
    return identity


def trusted_certificates(folder: Path | str) -> tuple[str, set[str]]:
    """Return the root certificates of a folder as PEM, and the serial numbers of its signing certificates.

    They come from certificates.pem and from files named certificates-*.pem: after a renewal the old file is kept under
    such a name, so that images signed with it still verify.
    """
    from cryptography import x509

    paths = sorted(Path(folder).glob("certificates*.pem"))
    try:
        chains = [x509.load_pem_x509_certificates(path.read_bytes()) for path in paths]
    except (OSError, ValueError) as error:
        raise UserError(f"A certificate in {folder} is damaged: restore it, or use another folder.") from error
    return "".join(_pem(chain[-1]) for chain in chains), {str(chain[0].serial_number) for chain in chains}


def create_identity(
    folder: Path | str, organization: str = DEFAULT_ORGANIZATION, start: datetime | None = None
) -> None:
    """Make a key and a certificate chain of a root and a signing certificate, as the C2PA specification asks for.

    The private key is readable by its owner only (file mode 600). The root's key is not kept.

    Args:
        folder: Where the two files are written; other files are left alone.
        organization: Name in the certificates (O field), shown by programs that display content credentials.
        start: Start of the certificates' validity; default: now.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def usage(**allowed: bool) -> x509.KeyUsage:
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
        return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})

    def certificate(subject, issuer, key, issuer_key) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )

    start = start or datetime.now(UTC) - timedelta(minutes=5)  # clocks differ
    organization_name = x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)
    root_name, name = (
        x509.Name([organization_name, x509.NameAttribute(NameOID.COMMON_NAME, common)])
        for common in (f"{organization} root"[:64], organization[:64])
    )
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        certificate(root_name, root_name, root_key, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        certificate(name, root_name, key, root_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        with atomic_file(Path(folder) / CERTIFICATES) as draft:
            draft.write_text(_pem(leaf) + _pem(root), encoding="ascii")
        write_private(Path(folder) / PRIVATE_KEY, private_key)
    except OSError as error:
        raise UserError(f"Cannot write a key to {folder} ({error.strerror}): choose another folder.") from error


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Make the folder, and keep other processes that do the same waiting for the duration of a block."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "a") as lock:
            if fcntl:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise UserError(f"Cannot write a key to {folder} ({error.strerror}): choose another folder.") from error


def _pem(certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def _check(identity: SigningIdentity, folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate, *_, root = x509.load_pem_x509_certificates(identity.certificates.encode())
        key = load_pem_private_key(identity.private_key.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"The key or the certificate in {folder} is damaged or protected by a password: use PEM files without one."
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise UserError(f"The key in {folder} is not a P-256 key: use one for ES256.")
    if key.public_key() != certificate.public_key():
        raise UserError(f"The key in {folder} does not belong to the first certificate: use the matching files.")
    if root.issuer != root.subject:
        raise UserError(f"{folder / CERTIFICATES} ends before the root: add the certificates up to the root.")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise UserError(
            f"The certificate in {folder} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: renew it, or rename "
            f"{CERTIFICATES} to certificates-old.pem and delete {PRIVATE_KEY} for a new key."
        )
