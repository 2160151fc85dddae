# Probes each address given, by way of the program in $MTR_PACKET.
import asyncio
import sys

import mtrpacket


async def show(probe):
    r = await probe
    print(r.success, r.result, r.responder, [tuple(label) for label in r.mpls])


async def main():
    async with mtrpacket.MtrPacket() as mtr:
        for host in sys.argv[1:]:
            for ttl in 1, 2:
                await show(mtr.probe(host, ttl=ttl))
            for protocol in "icmp", "udp", "tcp":
                await show(mtr.probe(host, protocol=protocol, timeout=2))
            many = await asyncio.gather(*(mtr.probe(host, bit_pattern=i % 256) for i in range(500)))
            print(sum(r.success for r in many), "of", len(many))


asyncio.run(main())
