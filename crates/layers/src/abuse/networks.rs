//! Which networks an address lies in: one look for each length of a prefix that there is, however many networks there are.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

/// Networks, and something about each.
#[derive(Clone, Debug)]
pub(super) struct Networks<T> {
    /// By the length of the prefix, and what is left of it at the right end of a number.
    ipv4: BTreeMap<u8, HashMap<u32, T>>,
    ipv6: BTreeMap<u8, HashMap<u128, T>>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self { ipv4: BTreeMap::new(), ipv6: BTreeMap::new() }
    }
}

impl<T> Networks<T> {
    pub(super) fn get(&self, network: &IpNet) -> Option<&T> {
        let bits = network.prefix_len();
        match network {
            IpNet::V4(network) => self.ipv4.get(&bits)?.get(&prefix4(network.addr().into(), bits)),
            IpNet::V6(network) => self.ipv6.get(&bits)?.get(&prefix6(network.addr().into(), bits)),
        }
    }

    pub(super) fn insert(&mut self, network: &IpNet, of: T) -> Option<T> {
        let bits = network.prefix_len();
        match network {
            IpNet::V4(network) => {
                self.ipv4.entry(bits).or_default().insert(prefix4(network.addr().into(), bits), of)
            }
            IpNet::V6(network) => {
                self.ipv6.entry(bits).or_default().insert(prefix6(network.addr().into(), bits), of)
            }
        }
    }

    pub(super) fn remove(&mut self, network: &IpNet) -> Option<T> {
        let bits = network.prefix_len();
        match network {
            IpNet::V4(network) => {
                let networks = self.ipv4.get_mut(&bits)?;
                let removed = networks.remove(&prefix4(network.addr().into(), bits));
                if networks.is_empty() {
                    self.ipv4.remove(&bits);
                }
                removed
            }
            IpNet::V6(network) => {
                let networks = self.ipv6.get_mut(&bits)?;
                let removed = networks.remove(&prefix6(network.addr().into(), bits));
                if networks.is_empty() {
                    self.ipv6.remove(&bits);
                }
                removed
            }
        }
    }

    /// What is there of every network that the address lies in.
    pub(super) fn around(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        let (ipv4, ipv6) = match address.to_canonical() {
            IpAddr::V4(address) => (Some(u32::from(address)), None),
            IpAddr::V6(address) => (None, Some(u128::from(address))),
        };
        let ipv4 = ipv4.into_iter().flat_map(|address| {
            self.ipv4.iter().filter_map(move |(bits, networks)| networks.get(&prefix4(address, *bits)))
        });
        let ipv6 = ipv6.into_iter().flat_map(|address| {
            self.ipv6.iter().filter_map(move |(bits, networks)| networks.get(&prefix6(address, *bits)))
        });
        ipv4.chain(ipv6)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.ipv4.values().flat_map(HashMap::values).chain(self.ipv6.values().flat_map(HashMap::values))
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.ipv4.retain(|_, networks| {
            networks.retain(|_, of| stays(of));
            !networks.is_empty()
        });
        self.ipv6.retain(|_, networks| {
            networks.retain(|_, of| stays(of));
            !networks.is_empty()
        });
    }
}

/// The first `bits` of an address; of none of them, nothing.
fn prefix4(address: u32, bits: u8) -> u32 {
    address.checked_shr(32 - u32::from(bits)).unwrap_or(0)
}

fn prefix6(address: u128, bits: u8) -> u128 {
    address.checked_shr(128 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_all_networks_that_begin_like_it() {
        let mut networks = Networks::default();
        for network in [
            "0.0.0.0/0",
            "203.0.113.0/24",
            "203.0.113.7/32",
            "203.0.0.0/16",
            "2001:db8::/32",
            "2001:db8::1/128",
        ] {
            networks.insert(&network.parse().expect("a network"), network);
        }
        for (address, expected) in [
            ("203.0.113.7", &["0.0.0.0/0", "203.0.0.0/16", "203.0.113.0/24", "203.0.113.7/32"][..]),
            ("::ffff:203.0.113.8", &["0.0.0.0/0", "203.0.0.0/16", "203.0.113.0/24"]),
            ("204.0.113.7", &["0.0.0.0/0"]),
            ("2001:db8::1", &["2001:db8::/32", "2001:db8::1/128"]),
            ("2001:db9::1", &[]),
        ] {
            let found: Vec<_> = networks.around(address.parse().expect("an address")).copied().collect();
            assert_eq!(found, expected, "{address}");
        }
        networks.retain(|network| network.ends_with("/32"));
        assert_eq!(networks.values().count(), 2);
        assert_eq!(networks.get(&"203.0.0.0/16".parse().expect("a network")), None);
    }
}
