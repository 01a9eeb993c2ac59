//! What an address is good for: the public network, or something nearer that an allowed name must not lead to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Public,
    /// This machine, this network, or nobody: let through only when it is named with its port.
    Near,
    /// Where clouds hand out credentials: never let through.
    Metadata,
}

/// Sources: the IANA special-purpose address registries of versions 4 and 6; the metadata addresses of AWS, Azure,
/// Google Cloud, Oracle (169.254.169.254, fd00:ec2::254), of AWS ECS (169.254.170.2) and of Alibaba (100.100.100.200).
pub fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind4(address),
        IpAddr::V6(address) => kind6(address),
    }
}

fn kind4(address: Ipv4Addr) -> Kind {
    let octets = address.octets();
    if METADATA4.contains(&octets) {
        return Kind::Metadata;
    }
    let near = match octets {
        [0 | 10 | 127, ..] => true,
        // Shared by carriers.
        [100, 64..=127, ..] => true,
        [169, 254, ..] | [192, 168, ..] => true,
        [172, 16..=31, ..] => true,
        // Protocols, documentation, the old relay of version 6, benchmarks.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            true
        }
        // Groups, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    };
    if near { Kind::Near } else { Kind::Public }
}

fn kind6(address: Ipv6Addr) -> Kind {
    if address == METADATA6 {
        return Kind::Metadata;
    }
    let segments = address.segments();
    // Addresses of version 4 in other clothes: mapped, compatible, translated, 6to4.
    let [.., high, low] = segments;
    let inner = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        kind4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => inner(high, low),
        // Nobody, this machine, and the compatible form that nobody uses.
        [0, 0, 0, 0, 0, 0, ..] => Kind::Near,
        [0x2002, high, low, ..] => inner(high, low),
        // Only this part is given out for the public network.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Kind::Near,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Near,
    }
}

const METADATA4: [[u8; 4]; 4] =
    [[169, 254, 169, 254], [169, 254, 170, 2], [100, 100, 100, 200], [168, 63, 129, 16]];
const METADATA6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_addresses_are_told_from_public_ones() {
        let cases = [
            (
                Kind::Public,
                "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.167.1.1 223.255.255.255",
            ),
            (Kind::Public, "2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1"),
            (
                Kind::Near,
                "0.0.0.0 10.1.2.3 127.0.0.1 127.8.8.8 100.64.0.1 100.127.255.255 169.254.1.1 172.16.0.1",
            ),
            (
                Kind::Near,
                "172.31.255.255 192.168.0.1 192.0.2.1 198.18.0.1 203.0.113.9 224.0.0.1 255.255.255.255",
            ),
            (
                Kind::Near,
                ":: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1 fe80::1 fc00::1 fd12::1 ff02::1",
            ),
            (Kind::Near, "64:ff9b::10.0.0.1 2002:7f00:1::1 2001:db8::1 2001::1 4000::1"),
            (
                Kind::Metadata,
                "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 fd00:ec2::254 ::ffff:169.254.169.254",
            ),
            (Kind::Metadata, "64:ff9b::169.254.169.254 2002:a9fe:a9fe::1"),
        ];
        for (want, addresses) in cases {
            for address in addresses.split(' ') {
                assert_eq!(kind(address.parse().unwrap()), want, "{address}");
            }
        }
    }
}
