"""The cluster's certificate authority, and the certificates that it signs (X.509, EC P-256).

Times are seconds since 1970-01-01 UTC and come from the caller.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftchaos.errors import DataCorrupt, Refused, UsageError
from raftchaos.identity.subjects import ORGANIZATION, PEER, SCHEME, Subject

"""In the subject of every CA that raftchaos makes: tells it from a CA that also serves others."""
AUTHORITY_LIFE: Final = 10 * 365 * 24 * 3600.0
BACKDATED: Final = 300.0  # clocks differ
RENEW_AFTER: Final = 0.5  # of a certificate's life
HOSTS: Final = 16
_HOST: Final = 253  # characters (RFC 1035)
_LABELS: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.(?!$)|$))+", re.ASCII | re.IGNORECASE)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM (PKCS #8), not encrypted: the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key(pem: bytes, what: str) -> ec.EllipticCurvePrivateKey:
    """The private key in this PEM. Raises DataCorrupt if there is none that can be read."""
    try:
        loaded = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataCorrupt(f"{what} holds no private key that can be read ({error})") from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise DataCorrupt(f"{what} holds a private key that is not EC")
    return loaded


def request_for(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A certificate request (PKCS #10, PEM) of the holder of this key. Only the key of it is believed."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def key_of_request(request: bytes) -> ec.EllipticCurvePublicKey:
    """The key that has signed this certificate request (PEM). Raises UsageError for a request that is none."""
    try:
        asked = x509.load_pem_x509_csr(request)
        valid, public = asked.is_signature_valid, asked.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise UsageError(f"found no certificate request that can be read ({error})") from None
    if not valid or not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise UsageError("found a certificate request that its own key did not sign, or whose key is not EC P-256")
    return public


def digest_of_key(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of a public key (SubjectPublicKeyInfo, DER) in hexadecimal."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def check_chain(
    chain: str, subject: Subject, key: ec.EllipticCurvePublicKey, trusted: Sequence[x509.Certificate]
) -> None:
    """Raises Refused for a chain (PEM) that is not for this subject and key, or not of one of these CAs."""
    found = split(chain.encode(), "the new certificate")
    if len(found) < 2 or found[1] not in trusted:
        raise Refused("the new certificate is not of a CA that is trusted here")
    leaf = found[0]
    try:
        leaf.verify_directly_issued_by(found[1])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        raise Refused("the new certificate was not signed by its CA, or names nobody") from None
    named = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(SCHEME)]
    if leaf.public_key() != key or named != [subject.uri]:
        raise Refused("the new certificate is for another peer, or for another key")


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate (DER) in hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def split(pem: bytes, what: str = "the file") -> list[x509.Certificate]:
    """The certificates in this PEM. Raises DataCorrupt if there is none, or one cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise DataCorrupt(f"{what} holds no certificate that can be read ({error})") from None
    return found


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint_of(certificate: x509.Certificate) -> str:
    """See `fingerprint`."""
    return fingerprint(certificate.public_bytes(serialization.Encoding.DER))


def cluster_of(certificate: x509.Certificate) -> str:
    """Id of the cluster that this CA was made for; empty for a CA of somebody's own."""
    made_by = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return str(found[0].value) if found and [one.value for one in made_by] == [ORGANIZATION] else ""


@dataclass(frozen=True, slots=True)
class Validity:
    """When a certificate is valid, in seconds since 1970."""

    begins: float
    ends: float

    def renewal_due(self, now: float) -> bool:
        """Whether half of its life is over, or its time has not come: the clock was set back."""
        return not self.begins <= now < self.begins + BACKDATED + (self.ends - self.begins - BACKDATED) * RENEW_AFTER

    def problem(self, now: float, whose: str) -> str:
        """Why it is not valid at this time by this machine's clock; empty if it is."""
        if self.begins <= now < self.ends:
            return ""
        state = "not valid yet" if now < self.begins else "not valid any more"
        return (
            f"the certificate of {whose} is {state}: it is valid from {_time(self.begins)} to {_time(self.ends)}, "
            f"and the clock of this machine says {_time(now)}"
        )


def validity(certificate: x509.Certificate) -> Validity:
    """When it is valid."""
    return Validity(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, cluster: str, now: float) -> Authority:
        """A new CA of this cluster, valid for ten years."""
        key = new_key()
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
                x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, cluster),
                x509.NameAttribute(NameOID.COMMON_NAME, "raftchaos cluster CA"),
            ]
        )
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            _builder(name, name, key.public_key(), now, AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: x509.Certificate, key: bytes, what: str) -> Authority:
        """A CA from its certificate and its key (PEM). Raises DataCorrupt if they do not belong together."""
        loaded = load_key(key, what)
        if loaded.public_key() != certificate.public_key():
            raise DataCorrupt(f"{what} is not the key of the CA {fingerprint_of(certificate)[:16]}")
        return cls(certificate, loaded)

    @property
    def fingerprint(self) -> str:
        """Of its certificate."""
        return fingerprint_of(self.certificate)

    def sign(self, request: bytes, subject: Subject, *, hosts: Sequence[str], now: float, seconds: float) -> bytes:
        """A certificate (PEM) for the key of this request, that names this subject, followed by the CA's own.

        `hosts` are names and addresses for other programs. Raises UsageError for a request that is none.
        """
        public = key_of_request(request)
        if subject.cluster != self.cluster:
            raise Refused(f"the CA is that of the cluster {self.cluster}")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(subject.uri)]
        if subject.kind == PEER:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
            names += host_names([*subject.names, *hosts])
        common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject.names[0])])
        builder = (
            _builder(common, self.certificate.subject, public, now, seconds)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return pem_of(builder.sign(self.key, hashes.SHA256())) + pem_of(self.certificate)

    @property
    def cluster(self) -> str:
        """Id of the cluster that it was made for."""
        return cluster_of(self.certificate)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, seconds: float
) -> x509.CertificateBuilder:
    begins = datetime.datetime.fromtimestamp(int(now - BACKDATED), datetime.UTC)
    ends = datetime.datetime.fromtimestamp(int(now + seconds), datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def host_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """As they stand in a certificate. Raises UsageError for what is neither a host name nor an address, or too many."""
    if len(hosts) > HOSTS:
        raise UsageError(f"found {len(hosts)} names of a host, expected at most {HOSTS}")
    return [_general(host) for host in dict.fromkeys(hosts)]


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if len(host) <= _HOST and _LABELS.fullmatch(host):
            return x509.DNSName(host)
    raise UsageError(f"found {host[:80]!r}, expected a host name or an address")


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
