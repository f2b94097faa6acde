package egress

// Tier is a service tier of Azure Container Registry: how many requests of each kind
// one identity may send in a minute. For reads and lists of referrers that is half
// of what the registry has for all identities.
// https://learn.microsoft.com/azure/container-registry/container-registry-skus
type Tier struct {
	Read, Write, Referrers int
}

// The tiers.
var (
	Basic    = Tier{Read: 5000, Write: 2000, Referrers: 250}
	Standard = Tier{Read: 5000, Write: 2000, Referrers: 250}
	Premium  = Tier{Read: 10_000, Write: 4000, Referrers: 1000}
)

// published returns the limits of a kind of request, the lowest first; none for
// tokens.
func published(kind int) []int {
	var limits []int
	for _, t := range []Tier{Basic, Standard, Premium} {
		switch kind {
		case kindRead:
			limits = append(limits, t.Read)
		case kindWrite:
			limits = append(limits, t.Write)
		case kindReferrers:
			limits = append(limits, t.Referrers)
		}
	}
	return limits
}
