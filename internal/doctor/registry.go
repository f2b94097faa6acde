package doctor

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"acrpromote/internal/ref"
)

// Registry is what was read of a registry.
type Registry struct {
	Name  string   // in the flow file, or empty
	Host  string   // of the flow file
	Azure bool     // it is an Azure Container Registry
	Hosts []string // other names of the registry
	Trust int      // a higher number is trusted more
	// Source reports whether a flow reads from the registry.
	Source bool
	// Writers and Readers are the object IDs that the flow file expects.
	Writers, Readers []string
	// Unread is what could not be read. The rest of what was read counts.
	Unread []Unread

	ID       string // resource ID; empty if the registry was not found
	Settings Settings
	// Identities are the object IDs of the managed identities of the registry, its
	// tasks, pipelines and cache rules.
	Identities  []string
	Assignments []Assignment
	Roles       map[string]Role // by GUID
	Tokens      []Token
	ScopeMaps   map[string][]string // actions by resource ID, in lower case
	Tasks       []Task
	Pipelines   []Pipeline
	CacheRules  []CacheRule
	Connected   []Connected
}

// Unread is something that could not be read: what, why, and the command or the
// sentence that makes it readable.
type Unread struct{ What, Reason, Grant string }

// Settings are properties of a registry as Azure Resource Manager shows them. A text is
// empty and a pointer nil where it shows none.
type Settings struct {
	Read                     bool // they were read
	SKU                      string
	RoleAssignmentMode       string
	AdminUser, AnonymousPull *bool
	PublicNetworkAccess      string
	DefaultAction            string
	IPRules                  []string
	BypassOptions            string
	BypassForTasks           bool
	DataEndpoint             bool
	DataEndpoints            []string // host names
	ExportPolicy, ARMTokens  string
	Quarantine, Retention    string
	RetentionDays            int
	SoftDelete               string
	SoftDeleteRead           bool // it was read; only preview versions show it
	Endpoints                []Endpoint
}

// Endpoint is a connection of a private endpoint.
type Endpoint struct {
	Name, Status string
	Subscription string // of the private endpoint
}

// Token is a token of a scope map. A password without an expiry has an empty text.
type Token struct {
	Name, Status, ScopeMap string
	Passwords              []string // the time at which each expires, RFC 3339
	Certificates           int
}

// Task is an ACR task.
type Task struct {
	Name, Status string
	Steps        string // the text of its steps, as far as they are stored in the task
	Outside      bool   // its steps or its context are read from elsewhere
}

// Pipeline is an import or export pipeline, to or from a container of a storage account.
type Pipeline struct {
	Name, URI string
	Export    bool
}

// CacheRule fills a repository with images of another registry when they are pulled.
type CacheRule struct{ Name, Source, Target string }

// Connected is a connected registry: a copy on premises.
type Connected struct{ Name, Mode, Parent string }

// registryKinds are the findings about registries.
var registryKinds = []Kind{
	{"unread", Unknown, "{what} could not be read, so nothing is known about it: {reason}.", "{grant=}"},
	{"setting-unknown", Unknown, "The setting {setting} has the value {value}, which this version does not know.", "Update acrpromote, or set it to {safe}."},
	{"not-azure-protected", Unknown, "It is not an Azure Container Registry, so nothing is known about who can write to it or read it.", "Check its settings by hand, or give it the lowest trust level."},
	{"not-azure", Low, "It is not an Azure Container Registry, so nothing is known about whether it mirrors a more trusted registry.", "Check its settings by hand."},

	{"writer-unexpected", High, "{type} {principal} can {rights} with the role {role} at {scope}{condition}, and is not among the expected writers.", "az role assignment delete --ids {assignment}"},
	{"manager-unexpected", High, "{type} {principal} can {rights} with the role {role} at {scope}{condition}, and so write or let others write, and is not among the expected writers.", "az role assignment delete --ids {assignment}"},
	{"reader-unexpected", High, "{type} {principal} can {rights} with the role {role} at {scope}{condition}, and is not among the expected readers: it needs no approval to get an image.", "az role assignment delete --ids {assignment}"},
	{"reader-may-write", High, "{type} {principal} is expected to read only, and can {rights} with the role {role} at {scope}{condition}.", "az role assignment create --assignee-object-id {principal} --assignee-principal-type {type} --role {narrow} --scope {id} && az role assignment delete --ids {assignment}"},
	{"lower-identity", High, "{type} {principal}, which belongs to the less trusted {lower}, has the role {role} at {scope}{condition}.", "az role assignment delete --ids {assignment}"},
	{"role-unread", Unknown, "The role {role}, which is assigned {count} times, could not be read, so nothing is known about what it permits.", "az role assignment create --assignee <client-id> --role Reader --scope {id}"},
	{"assignments-more", High, "There are {count} more role assignments like the {shown} of the finding {kind} that are listed.", "az role assignment list --scope {id} --include-inherited --output table"},

	{"admin-user", High, "Anyone who knows one of the two passwords of the admin user can push, delete and pull everything; nobody can tell who did.", "az acr update --name {registry} --admin-enabled false"},
	{"anonymous-pull", High, "Anyone who reaches the registry can pull every image, without signing in.", "az acr update --name {registry} --anonymous-pull-enabled false"},
	{"token-writes", High, "Anyone with a password of the token {token} can change images in {repositories}.", "az acr token delete --registry {registry} --name {token}"},
	{"token-reads", High, "Anyone with a password of the token {token} can pull from {repositories}, without an approval.", "az acr token delete --registry {registry} --name {token}"},
	{"token-unread", Unknown, "The scope map of the token {token} was not found, so nothing is known about what it permits.", "az acr token show --registry {registry} --name {token}"},
	{"token-no-expiry", Medium, "A password of the token {token} never expires, so a copy of it works until somebody finds it.", "az acr token credential generate --registry {registry} --name {token} --expiration-in-days 30 --password1"},
	{"task", High, "The task {task} can push to and delete from every repository, and runs what anyone who can change its source writes.", "az acr task delete --registry {registry} --name {task}"},
	{"purge-task", Medium, "The task {task} deletes images on a schedule.", "az acr task delete --registry {registry} --name {task}"},
	{"purge-locked", High, "The task {task} purges with --include-locked: it unlocks and deletes images that were released.", "az acr task update --registry {registry} --name {task} --status Disabled"},
	{"import-pipeline", High, "The import pipeline {pipeline} brings in whatever is put into {uri}, without an approval.", "az acr import-pipeline delete --registry {registry} --resource-group {group} --name {pipeline}"},
	{"export-pipeline", High, "The export pipeline {pipeline} copies images to {uri}, where other identities can read them.", "az acr export-pipeline delete --registry {registry} --resource-group {group} --name {pipeline}"},
	{"import-of-trusted", High, "The import pipeline {pipeline} brings in what the more trusted {upper} exports to {uri}, without an approval.", "az acr import-pipeline delete --registry {registry} --resource-group {group} --name {pipeline}"},
	{"cache-rule", High, "The cache rule {rule} fills {target} with images of {source} when somebody pulls them, without an approval.", "az acr cache delete --registry {registry} --name {rule}"},
	{"cache-of-trusted", High, "The cache rule {rule} lets anyone who can pull {target} here get any image of {source} in the more trusted {upper}, without an approval.", "az acr cache delete --registry {registry} --name {rule}"},
	{"connected-writes", High, "The connected registry {connected} accepts pushes on premises and brings them in.", "az acr connected-registry delete --registry {registry} --name {connected}"},
	{"connected-reads", Medium, "The connected registry {connected} copies images on premises, where its own tokens decide who can pull them.", "az acr connected-registry delete --registry {registry} --name {connected}"},
	{"connected-to-trusted", High, "The connected registry {connected} copies images of the more trusted {upper}, without an approval.", "az acr connected-registry delete --registry {registry} --name {connected}"},

	{"network-open", Medium, "Every machine on the internet can reach the registry, so that a password or token that leaks is enough.", "az acr update --name {registry} --sku Premium --public-network-enabled false"},
	{"network-range", Medium, "The firewall lets in {range}, which is {size} addresses.", "az acr network-rule remove --name {registry} --ip-address {range}"},
	{"no-private-endpoint", Low, "Public access is disabled and there is no approved private endpoint, so nobody reaches the registry.", "az network private-endpoint create --name {registry}-pe --resource-group {group} --vnet-name <vnet> --subnet <subnet> --private-connection-resource-id {id} --group-id registry --connection-name {registry}"},
	{"endpoint-pending", Low, "The private endpoint {endpoint} of the subscription {subscription} waits for an approval.", "az acr private-endpoint-connection reject --registry-name {registry} --name {endpoint}"},
	{"endpoint-foreign", Medium, "The private endpoint {endpoint} belongs to another subscription, {subscription}, whose owners decide who can use it.", "az acr private-endpoint-connection delete --registry-name {registry} --name {endpoint}"},
	{"trusted-services", Medium, "Trusted services of Azure pass the firewall, such as the import of another registry.", "az acr update --name {registry} --allow-trusted-services false"},
	{"tasks-bypass", Medium, "Tasks pass the firewall.", "az resource update --ids {id} --api-version 2025-11-01 --set properties.networkRuleBypassAllowedForTasks=false"},
	{"arm-tokens", Medium, "Tokens for Azure Resource Manager sign in to the registry, so that one that leaks from any other tool is enough.", "az acr config authentication-as-arm update --registry {registry} --status disabled"},
	{"export-policy", Medium, "Anyone who can pull can import the images into a registry of their own or export them, past the network.", "az acr update --name {registry} --public-network-enabled false && az resource update --ids {id} --api-version 2025-11-01 --set properties.policies.exportPolicy.status=disabled"},
	{"data-endpoint", Low, "Layers are downloaded from storage accounts of any name, so the network of its clients must be open to *.blob.core.windows.net.", "az acr update --name {registry} --data-endpoint-enabled true"},
	{"soft-delete", Low, "What is deleted cannot be restored.", "az acr config soft-delete update --registry {registry} --status enabled --days 30"},
	{"retention", Medium, "Untagged manifests are deleted after {days} days: this can delete what a copy has pushed before its tag, and images that are kept by digest.", "az acr config retention update --registry {registry} --status disabled --type UntaggedManifests"},
	{"quarantine", Low, "Pushed images stay invisible until they are released from quarantine, so that a copy finds them missing.", "az resource update --ids {id} --api-version 2025-11-01 --set properties.policies.quarantinePolicy.status=disabled"},
	{"sku", Low, "The service tier {sku} takes 500 ListReferrers requests a minute. A run that copies 100 images with signatures from here sends about {needed}, and waits.", "az acr update --name {registry} --sku Premium"},
}

// where names the registry in a finding.
func (r *Registry) where() string {
	if r.Name == "" {
		return "registry " + r.Host
	}
	return "registry " + r.Name + " (" + r.Host + ")"
}

// named reports whether a host is a name of the registry.
func (r *Registry) named(host string) bool {
	for _, name := range append([]string{r.Host}, r.Hosts...) {
		if strings.EqualFold(host, name) || strings.EqualFold(host, ref.LoginServer(name)) {
			return true
		}
	}
	return false
}

// part returns the value that follows a key in a resource ID.
func part(id, key string) string {
	parts := strings.Split(id, "/")
	for i := 0; i+1 < len(parts); i++ {
		if strings.EqualFold(parts[i], key) {
			return parts[i+1]
		}
	}
	return ""
}

// registryJudge judges one registry.
type registryJudge struct {
	*judge
	*Registry
	setup     Setup
	protected bool
	facts     []string
}

// protected reports whether there is a registry of less trust, or none of more.
func (s Setup) protected(r *Registry) bool {
	none := true
	for i := range s.Registries {
		if s.Registries[i].Trust < r.Trust {
			return true
		}
		none = none && s.Registries[i].Trust <= r.Trust
	}
	return none
}

func (j *judge) registry(s Setup, r *Registry) {
	rj := &registryJudge{judge: j, Registry: r, setup: s, protected: s.protected(r),
		facts: []string{"id", r.ID, "registry", part(r.ID, "registries"), "group", part(r.ID, "resourceGroups")}}
	if !r.Azure {
		id := "not-azure"
		if rj.protected {
			id = "not-azure-protected"
		}
		rj.add(id)
		return
	}
	for _, u := range r.Unread {
		rj.add("unread", "what", u.What, "reason", u.Reason, "grant", u.Grant)
	}
	if rj.protected {
		rj.settings()
		rj.network()
		rj.assignments()
		rj.content()
	}
	rj.tokens()
	rj.reachesUp()
}

// add adds a finding about the registry.
func (r *registryJudge) add(id string, facts ...string) {
	r.find(registryKinds, id, r.where(), append(facts, r.facts...)...)
}

// one adds a finding unless a setting has its safe value. An empty value is the
// documented default, which wide says whether it is a finding.
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
	premium := strings.EqualFold(s.SKU, "Premium")
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
		r.add("sku", "sku", or(s.SKU, "(none)"), "needed", strconv.Itoa(referrersOfRun))
	}
	if mode := s.RoleAssignmentMode; mode != "" && !strings.EqualFold(mode, abacMode) && !strings.EqualFold(mode, "LegacyRegistryPermissions") {
		r.add("setting-unknown", "setting", "roleAssignmentMode", "value", mode, "safe", abacMode)
	}
}

// referrersOfRun is how many ListReferrers requests a run sends that copies 100 images
// of two platforms with two attached artifacts each: for the index, the platforms and
// the artifacts.
const referrersOfRun = 100 * 5

const abacMode = "AbacRepositoryPermissions"

// abac reports whether the registry honours data actions alone.
func (r *Registry) abac() bool { return strings.EqualFold(r.Settings.RoleAssignmentMode, abacMode) }

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

// mostListed limits the role assignments that are listed of each kind.
const mostListed = 100

// assignments judges who has rights on the registry.
func (r *registryJudge) assignments() {
	abac := r.abac()
	lower := r.lowerIdentities()
	roles := map[string]granted{}
	for id, role := range r.Roles {
		roles[id] = role.permits(abac)
	}
	listed, unread := map[string]int{}, map[string]int{}
	add := func(kind string, facts []string) {
		if listed[kind]++; listed[kind] <= mostListed {
			r.add(kind, facts...)
		}
	}
	for _, a := range r.Assignments {
		permits, known := roles[a.Role]
		if !known {
			unread[a.Role]++
			continue
		}
		role := r.Roles[a.Role].Name
		facts := []string{"type", or(a.Type, "Identity"), "principal", a.Principal, "role", role, "scope", or(a.Scope, "/"), "condition", "", "assignment", a.ID(), "narrow", "AcrPull"}
		if a.Condition != "" {
			facts[9] = " under the condition " + a.Condition
		}
		if abac {
			facts[13] = "Container Registry Repository Reader"
		}
		may := func(kinds ...kindOfRight) []string {
			var all []string
			for _, k := range kinds {
				all = append(all, permits[k]...)
			}
			return append(facts, "rights", strings.Join(all, ", "))
		}
		writer, reader := contains(r.Writers, a.Principal), contains(r.Readers, a.Principal)
		strong := len(permits[writes]) + len(permits[manages])
		switch {
		case writer && strong > 0:
			r.accept(a, role, "writer")
		case (writer || reader) && strong == 0:
			if len(permits[reads]) > 0 {
				r.accept(a, role, "reader")
			}
		case reader:
			add("reader-may-write", may(writes, manages))
		case lower[a.Principal] != "":
			add("lower-identity", append(facts, "lower", lower[a.Principal]))
		case len(permits[writes]) > 0:
			add("writer-unexpected", may(writes, manages))
		case len(permits[manages]) > 0:
			add("manager-unexpected", may(manages))
		case len(permits[reads]) > 0:
			add("reader-unexpected", may(reads))
		}
	}
	for _, k := range registryKinds {
		if more := listed[k.ID] - mostListed; more > 0 {
			r.add("assignments-more", "count", strconv.Itoa(more), "shown", strconv.Itoa(mostListed), "kind", k.ID)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(unread)) {
		r.add("role-unread", "role", role, "count", strconv.Itoa(unread[role]))
	}
}

func (r *registryJudge) accept(a Assignment, role, as string) {
	r.Accepted = append(r.Accepted, Accepted{Registry: r.Host, Principal: a.Principal, Role: role, Scope: or(a.Scope, "/"), As: as})
}

func contains(list []string, id string) bool {
	for _, other := range list {
		if strings.EqualFold(other, id) {
			return true
		}
	}
	return false
}

// lowerIdentities returns the identities that belong to registries of less trust: those
// that may write content there by an assignment that does not apply here, and the
// managed identities of the registry itself.
func (r *registryJudge) lowerIdentities() map[string]string {
	here := map[string]bool{}
	for _, a := range r.Assignments {
		here[a.ID()] = true
	}
	found := map[string]string{}
	for i := range r.setup.Registries {
		other := &r.setup.Registries[i]
		if other.Trust >= r.Trust {
			continue
		}
		abac := other.abac()
		for _, a := range other.Assignments {
			if role, known := other.Roles[a.Role]; known && !here[a.ID()] && len(role.permits(abac)[writes]) > 0 {
				found[a.Principal] = other.where()
			}
		}
		for _, id := range other.Identities {
			found[id] = other.where()
		}
	}
	return found
}

// permits returns what the role assignments of an identity permit on the registry.
func (r *Registry) permits(objectID string) granted {
	var all granted
	for _, a := range r.Assignments {
		if objectID != "" && strings.EqualFold(a.Principal, objectID) {
			for kind, permits := range r.Roles[a.Role].permits(r.abac()) {
				all[kind] = append(all[kind], permits...)
			}
		}
	}
	return all
}

// writes reports whether an identity may write to a registry.
func (s Setup) writes(host, objectID string) bool {
	for i := range s.Registries {
		if r := &s.Registries[i]; r.Host == host {
			may := r.permits(objectID)
			return len(may[writes])+len(may[manages]) > 0
		}
	}
	return false
}

// Access returns the registries on whose content an identity has a right.
func (s Setup) Access(objectID string) []Access {
	var all []Access
	for i := range s.Registries {
		r := &s.Registries[i]
		if may := r.permits(objectID); len(may[reads])+len(may[writes])+len(may[manages]) > 0 {
			all = append(all, Access{Host: r.Host, Trust: r.Trust})
		}
	}
	return all
}

// content judges what else brings content into the registry or out of it.
func (r *registryJudge) content() {
	for _, t := range r.Tasks {
		purge := strings.Contains(t.Steps, "purge")
		switch {
		case strings.EqualFold(t.Status, "Disabled"):
		case purge && strings.Contains(t.Steps, "--include-locked"):
			r.add("purge-locked", "task", t.Name)
		case purge && !t.Outside && onlyPurges(t.Steps):
			r.add("purge-task", "task", t.Name)
		case !r.abac():
			r.add("task", "task", t.Name)
		}
	}
	for _, p := range r.Pipelines {
		id := "import-pipeline"
		if p.Export {
			id = "export-pipeline"
		}
		r.add(id, "pipeline", p.Name, "uri", p.URI)
	}
	for _, c := range r.CacheRules {
		if upper := r.upstream(c.Source); upper == nil || upper.Trust <= r.Trust {
			r.add("cache-rule", "rule", c.Name, "source", c.Source, "target", c.Target)
		}
	}
	for _, c := range r.Connected {
		id := "connected-writes"
		if strings.EqualFold(c.Mode, "ReadOnly") || strings.EqualFold(c.Mode, "Mirror") {
			id = "connected-reads"
		}
		r.add(id, "connected", c.Name)
	}
}

// onlyPurges reports whether each command of a task's steps is acr purge.
func onlyPurges(steps string) bool {
	for line := range strings.Lines(steps) {
		line = strings.TrimLeft(strings.TrimSpace(line), "- ")
		command, is := strings.CutPrefix(line, "cmd:")
		if is && !strings.HasPrefix(strings.TrimSpace(command), "acr purge ") {
			return false
		}
		if strings.HasPrefix(line, "build:") || strings.HasPrefix(line, "push:") {
			return false
		}
	}
	return true
}

// tokens judges the tokens of scope maps: in a protected registry all of them, and
// everywhere those whose passwords do not expire.
func (r *registryJudge) tokens() {
	for _, t := range r.Tokens {
		usable := t.Certificates > 0
		endless := false
		for _, expiry := range t.Passwords {
			at, err := time.Parse(time.RFC3339, expiry)
			endless = endless || expiry == ""
			usable = usable || err != nil || r.setup.Now.Before(at)
		}
		if !usable || strings.EqualFold(t.Status, "disabled") {
			continue
		}
		if endless {
			r.add("token-no-expiry", "token", t.Name)
		}
		if !r.protected {
			continue
		}
		actions, known := r.ScopeMaps[strings.ToLower(t.ScopeMap)]
		if !known {
			r.add("token-unread", "token", t.Name)
			continue
		}
		var changed, read []string
		for _, action := range actions {
			repository, verb := action, ""
			if at := strings.LastIndex(action, "/content/"); at >= 0 {
				repository, verb = action[:at], action[at+len("/content/"):]
			} else if at := strings.LastIndex(action, "/metadata/"); at >= 0 {
				repository, verb = action[:at], action[at+len("/metadata/"):]
			}
			repository = strings.TrimPrefix(repository, "repositories/")
			switch {
			case strings.EqualFold(verb, "write"), strings.EqualFold(verb, "delete"):
				changed = once(changed, repository)
			case strings.HasSuffix(strings.ToLower(action), "/content/read"):
				read = once(read, repository)
			}
		}
		switch {
		case len(changed) > 0:
			r.add("token-writes", "token", t.Name, "repositories", some(changed))
		case len(read) > 0:
			r.add("token-reads", "token", t.Name, "repositories", some(read))
		}
	}
}

// some returns the first of a list of names.
func some(names []string) string {
	const shown = 5
	if len(names) > shown {
		return strings.Join(names[:shown], ", ") + " and " + strconv.Itoa(len(names)-shown) + " more"
	}
	return strings.Join(names, ", ")
}

func once(list []string, text string) []string {
	if contains(list, text) {
		return list
	}
	return append(list, text)
}

// upstream returns the registry of the setup that a cache rule reads from, or nil.
func (r *registryJudge) upstream(source string) *Registry {
	host, _, _ := strings.Cut(source, "/")
	for i := range r.setup.Registries {
		if r.setup.Registries[i].named(host) {
			return &r.setup.Registries[i]
		}
	}
	return nil
}

// reachesUp judges what brings content of a more trusted registry down without an
// approval.
func (r *registryJudge) reachesUp() {
	for _, c := range r.CacheRules {
		if upper := r.upstream(c.Source); upper != nil && upper.Trust > r.Trust {
			r.add("cache-of-trusted", "rule", c.Name, "source", c.Source, "target", c.Target, "upper", upper.where())
		}
	}
	for i := range r.setup.Registries {
		upper := &r.setup.Registries[i]
		if upper.Trust <= r.Trust {
			continue
		}
		for _, c := range r.Connected {
			if upper.ID != "" && strings.HasPrefix(strings.ToLower(c.Parent)+"/", strings.ToLower(upper.ID)+"/") {
				r.add("connected-to-trusted", "connected", c.Name, "upper", upper.where())
			}
		}
		for _, p := range r.Pipelines {
			for _, out := range upper.Pipelines {
				if out.Export && !p.Export && strings.EqualFold(strings.TrimSuffix(p.URI, "/"), strings.TrimSuffix(out.URI, "/")) {
					r.add("import-of-trusted", "pipeline", p.Name, "uri", p.URI, "upper", upper.where())
				}
			}
		}
	}
}
