"""Where the broker is: the explicit address, then the configuration, then a beacon on the LAN."""

from __future__ import annotations

from zbuild.config import ClientConfig, normalise_endpoint
from zbuild.errors import BadInput


def farm_address(config: ClientConfig, *, is_distributed: bool) -> str:
    """The control endpoint. Only ``is_distributed`` sends anything to find it.

    Raises:
        BadInput: no broker is named, and discovery was not asked for.
        FarmUnreachable: discovery has found none.
    """
    if config.coordinator:
        return normalise_endpoint(config.coordinator)
    if not is_distributed:
        raise BadInput(
            "no broker: give --coordinator http://HOST:9000, set coordinator in the config, or --distributed"
        )
    from zbuild.protocol.messages import PROTOCOL_VERSION
    from zbuild.transport.beacon import find_broker

    return find_broker([config.beacon_address], config.beacon_port, PROTOCOL_VERSION, config.beacon_timeout_s)
