package doctor

import (
	"net/netip"
	"strconv"
	"strings"
)

// one adds a finding if a setting has its wide value, and another one if it has a value
// that is neither the wide nor the safe one.
func (r *registryJudge) one(id, setting, value, safe, wide string, facts ...string) {
	switch {
	case strings.EqualFold(value, safe):
	case strings.EqualFold(value, wide):
		r.add(id, facts...)
	default:
		r.add("setting-unknown", "setting", setting, "value", value, "safe", safe)
	}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// settings judges what the registry's properties allow. The documented defaults hold
// for what Azure Resource Manager does not show, except for the two that let people in
// by a password or without: these are always shown.
func (r *registryJudge) settings() {
	s := &r.Settings
	if !s.Read {
		return
	}
	for _, sw := range []struct {
		id, setting string
		on          *bool
	}{{"admin-user", "adminUserEnabled", s.AdminUser}, {"anonymous-pull", "anonymousPullEnabled", s.AnonymousPull}} {
		switch {
		case sw.on == nil:
			r.add("setting-unknown", "setting", sw.setting, "value", "(none)", "safe", "false")
		case *sw.on:
			r.add(sw.id)
		}
	}
	premium := !s.Small()
	r.one("arm-tokens", "azureADAuthenticationAsArmPolicy", or(s.ARMTokens, "enabled"), "disabled", "enabled")
	r.one("quarantine", "quarantinePolicy", or(s.Quarantine, "disabled"), "disabled", "enabled")
	r.one("retention", "retentionPolicy", or(s.Retention, "disabled"), "disabled", "enabled", "days", strconv.Itoa(s.RetentionDays))
	if s.SoftDeleteRead {
		r.one("soft-delete", "softDeletePolicy", or(s.SoftDelete, "disabled"), "enabled", "disabled")
	}
	if premium {
		r.one("export-policy", "exportPolicy", or(s.ExportPolicy, "enabled"), "disabled", "enabled")
		if !s.DataEndpoint {
			r.add("data-endpoint")
		}
	}
	if !premium && r.Source {
		r.add("sku", "sku", s.SKU, "needed", strconv.Itoa(referrersOfRun))
	}
	if premium && !strings.EqualFold(s.SKU, "Premium") {
		r.add("setting-unknown", "setting", "sku", "value", or(s.SKU, "(none)"), "safe", "Premium")
	}
	if mode := s.RoleAssignmentMode; mode != "" && !strings.EqualFold(mode, abacMode) && !strings.EqualFold(mode, "LegacyRegistryPermissions") {
		r.add("setting-unknown", "setting", "roleAssignmentMode", "value", mode, "safe", abacMode)
	}
}

// referrersOfRun is how many ListReferrers requests a run sends that copies 100 images
// of two platforms with three attached artifacts each: for the index, the platforms and
// the artifacts.
const referrersOfRun = 100 * (1 + 2 + 3)

// network judges from where the registry can be reached.
func (r *registryJudge) network() {
	s := &r.Settings
	if !s.Read {
		return
	}
	public := or(s.PublicNetworkAccess, "Enabled")
	closed := strings.EqualFold(public, "Disabled")
	if !closed {
		deny := strings.EqualFold(s.DefaultAction, "Deny")
		if !deny || !strings.EqualFold(public, "Enabled") {
			r.one("network-open", "publicNetworkAccess", public, "Disabled", "Enabled")
		}
		if deny {
			for _, text := range s.IPRules {
				r.ipRule(text)
			}
		}
		closed = deny
	}
	if closed {
		r.one("trusted-services", "networkRuleBypassOptions", or(s.BypassOptions, "AzureServices"), "None", "AzureServices")
		if s.BypassForTasks {
			r.add("tasks-bypass")
		}
	}
	approved := 0
	for _, e := range s.Endpoints {
		facts := []string{"endpoint", e.Name, "subscription", or(e.Subscription, "(none)")}
		switch {
		case strings.EqualFold(e.Status, "Pending"):
			r.add("endpoint-pending", facts...)
		case strings.EqualFold(e.Status, "Rejected"), strings.EqualFold(e.Status, "Disconnected"):
		default:
			approved++
			if !strings.EqualFold(e.Subscription, part(r.ID, "subscriptions")) {
				r.add("endpoint-foreign", facts...)
			}
		}
	}
	if approved == 0 && strings.EqualFold(public, "Disabled") {
		r.add("no-private-endpoint")
	}
}

// widestRange is the shortest prefix of a range that is not wide: 256 addresses.
const widestRange = 24

func (r *registryJudge) ipRule(text string) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		if _, err := netip.ParseAddr(text); err != nil {
			r.add("setting-unknown", "setting", "ipRules", "value", text, "safe", "a range of addresses")
		}
		return
	}
	if free := network.Addr().BitLen() - network.Bits(); free > 32-widestRange {
		r.add("network-range", "range", text, "size", "2^"+strconv.Itoa(free))
	}
}
