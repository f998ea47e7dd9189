package guard

import "net/netip"

// refusal is a range of addresses that no name may lead to.
type refusal struct{ prefix, why string }

// refusals are the ranges that are refused unless an allow-list has them literally: addresses of the machine's
// own cloud, which hand credentials to whoever asks, and those that are no single host.
// Private and loopback addresses are not among them: a model server often has one.
func refusals() []refusal {
	const (
		linkLocal = "link-local: cloud machines serve their credentials there"
		metadata  = "the metadata service of a cloud: it serves the machine's credentials"
		nobody    = "not the address of one host"
	)
	return []refusal{
		{"169.254.0.0/16", linkLocal},
		{"fe80::/10", linkLocal},
		{"fd00:ec2::/32", metadata},
		{"fd20:ce::254/128", metadata},
		{"100.100.100.200/32", metadata},
		{"168.63.129.16/32", metadata},
		{"192.0.0.192/32", metadata},
		{"0.0.0.0/8", nobody},
		{"::/128", nobody},
		{"224.0.0.0/4", nobody},
		{"240.0.0.0/4", nobody},
		{"ff00::/8", nobody},
	}
}

// forbidden says why an address is always refused; empty: it is not. Addresses of version 6 that
// a gateway turns into one of version 4 are judged by that one too.
func forbidden(addr netip.Addr) string {
	for _, a := range []netip.Addr{addr, embedded(addr)} {
		if !a.IsValid() {
			continue
		}
		for _, r := range refusals() {
			if netip.MustParsePrefix(r.prefix).Contains(a) {
				return r.why
			}
		}
	}
	return ""
}

// plain brings an address into the form in which it is compared: without a zone, and of version 4
// where it is one in the clothes of version 6 (::ffff:a.b.c.d).
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// embedded is the address of version 4 within one of version 6: NAT64 (64:ff9b::/96 and the /96s of
// 64:ff9b:1::/48), IPv4-compatible (::/96, but not ::1) and ISATAP (…:0:5efe:a.b.c.d) have it at the end, 6to4
// (2002::/16) behind its prefix, Teredo (2001::/32) at the end and inverted. Invalid: there is none.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() || addr == netip.IPv6Loopback() {
		return netip.Addr{}
	}
	b := addr.As16()
	last := [4]byte(b[12:16])
	within := func(prefix string) bool { return netip.MustParsePrefix(prefix).Contains(addr) }
	isatap := b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
	switch {
	case within("64:ff9b::/96"), within("64:ff9b:1::/48"), within("::/96"), isatap:
		return netip.AddrFrom4(last)
	case within("2002::/16"):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case within("2001::/32"):
		return netip.AddrFrom4([4]byte{^last[0], ^last[1], ^last[2], ^last[3]})
	}
	return netip.Addr{}
}
