"""Which addresses belong to the public internet."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

# The well-known prefix under which IPv4 is reached from networks that have IPv6 only (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
# What `is_global` says of these depends on Python's version: protocol assignments (RFC 6890), the relays of 6to4
# (RFC 7526), benchmarks (RFC 2544), NAT64 for local use (RFC 8215), documentation (RFC 9637).
_NOT_PUBLIC = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("198.18.0.0/15"),
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("3fff::/20"),
)


def is_public(address: Address) -> bool:
    """Whether a packet to the address leaves for the public internet, and for one host of it.

    An IPv6 address that stands for an IPv4 address (mapped, NAT64, 6to4, Teredo) is what that one is.
    """
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded:
            return is_public(embedded)
        if address.is_site_local:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    # Of Teredo, the client; the server that it names may be anywhere.
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
