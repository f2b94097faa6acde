package doctor

import (
	"strings"

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

// Small reports whether the service tier has none of what only Premium has. A tier that
// is not known is taken to have it.
func (s *Settings) Small() bool {
	return strings.EqualFold(s.SKU, "Basic") || strings.EqualFold(s.SKU, "Standard") || strings.EqualFold(s.SKU, "Classic")
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

// where names the registry in a finding.
func (r *Registry) where() string {
	if r.Name == "" {
		return "registry " + r.Host
	}
	return "registry " + r.Name + " (" + r.Host + ")"
}

// named reports whether a host is a name of the registry, or a regional endpoint of it.
func (r *Registry) named(host string) bool {
	host = ref.LoginServer(ref.CanonicalHost(host))
	for _, name := range append([]string{r.Host}, r.Hosts...) {
		if host == ref.LoginServer(ref.CanonicalHost(name)) {
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

// registryJudge judges one registry. facts has what every finding may name.
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

// registry adds the findings about a registry. Who may write to and read one that is
// not protected is nobody's concern.
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

const abacMode = "AbacRepositoryPermissions"

// abac reports whether the registry honours data actions alone.
func (r *Registry) abac() bool { return strings.EqualFold(r.Settings.RoleAssignmentMode, abacMode) }

func contains(list []string, id string) bool {
	for _, other := range list {
		if strings.EqualFold(other, id) {
			return true
		}
	}
	return false
}
