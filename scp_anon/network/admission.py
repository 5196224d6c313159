"""Who may come in: by address, before anything is read; by AE titles, when the association is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from scp_anon.errors import Rejected
from scp_anon.network.negotiation import Services


@dataclass(frozen=True)
class Admission:
    """The lists. `addresses`: networks that may connect, None for all.

    `callers`: called AE title → the AE titles that may store to it, None for all.
    `reporters`: called AE title → the destinations that report storage commitment to it.
    """

    callers: Mapping[str, frozenset[str] | None]
    addresses: tuple[IPv4Network | IPv6Network, ...] | None = None
    reporters: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def knows(self, address: str) -> bool:
        """Whether an address may connect."""
        if self.addresses is None:
            return True
        numeric = ip_address(address.partition("%")[0])
        if isinstance(numeric, IPv6Address) and numeric.ipv4_mapped:
            numeric = numeric.ipv4_mapped
        return any(numeric in network for network in self.addresses)

    def check(self, calling: str, called: str) -> Services:
        """What this AE title may do that calls that one.

        Raises Rejected where the called one is not ours (1/1/7), or the calling one may do nothing (1/1/3).
        """
        if called not in self.callers and called not in self.reporters:
            raise Rejected(1, 1, 7)  # PS3.8 9.3.4
        stores = called in self.callers and ((allowed := self.callers[called]) is None or calling in allowed)
        reports = calling in self.reporters.get(called, frozenset())
        if not stores and not reports:
            raise Rejected(1, 1, 3)
        return Services(stores, reports)
