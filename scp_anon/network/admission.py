"""Who may come in: by address, before anything is read; by AE titles, when the association is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from scp_anon.errors import Rejected


@dataclass(frozen=True)
class Admission:
    """The lists. `addresses`: networks that may connect, None for all.

    `callers`: called AE title → the AE titles that may call it, None for all; a title that is not here is not ours.
    """

    callers: Mapping[str, frozenset[str] | None]
    addresses: tuple[IPv4Network | IPv6Network, ...] | None = None

    def knows(self, address: str) -> bool:
        """Whether an address may connect."""
        if self.addresses is None:
            return True
        numeric = ip_address(address.partition("%")[0])
        if isinstance(numeric, IPv6Address) and numeric.ipv4_mapped:
            numeric = numeric.ipv4_mapped
        return any(numeric in network for network in self.addresses)

    def check(self, calling: str, called: str) -> None:
        """Raise Rejected unless this AE title is ours (1/1/7), and that one may call it (1/1/3) (PS3.8 9.3.4)."""
        if called not in self.callers:
            raise Rejected(1, 1, 7)
        allowed = self.callers[called]
        if allowed is not None and calling not in allowed:
            raise Rejected(1, 1, 3)
