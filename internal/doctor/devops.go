package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// DevOps is what was read of Azure DevOps.
type DevOps struct {
	// Connections are the service connections that sign in to the registries.
	Connections []Connection
	// Environments are the resources whose approval the flows count.
	Environments []Environment
	// FlowFile is the branch that the flow file is read from; nil if it is read from
	// elsewhere.
	FlowFile *Branch
	// Pool is the agent pool of this step; nil if it is not known.
	Pool *Pool
	// Unread is what could not be read.
	Unread []UnreadIn
}

// UnreadIn is something that could not be read, and where.
type UnreadIn struct {
	Where string
	Unread
}

// Connection is a service connection, and the checks on it.
type Connection struct {
	ID       string
	Name     string
	ClientID string // of its identity; empty if it has none
	ObjectID string // of its identity; empty if Azure DevOps does not know it
	Access   []Access
	// Machine reports that its identity is that of the agents' machines.
	Machine bool
	// Read reports that its checks were read.
	Read               bool
	Template, Approval bool
	// Open reports that every pipeline of the project may use it.
	Open bool
}

// Access is a registry that a service connection signs in to.
type Access struct {
	Host   string
	Trust  int  // a higher number is trusted more
	Target bool // of a flow
}

// Environment is a resource whose approval a flow counts.
type Environment struct {
	Where string // such as "environment Production"; empty if the flow names none
	Flow  string
	// MinApprovers and RequesterCanApprove are the flow's rules.
	MinApprovers        int
	RequesterCanApprove bool
	// Read reports that its checks were read, and RolesRead its roles.
	Read, RolesRead bool
	// Approvals are its enabled approval checks.
	Approvals      []Approvals
	Administrators []Member
}

// Approvals is an approval check.
type Approvals struct {
	Approvers           int // that it lists
	MinApprovers        int // 0 is all of them
	RequesterCanApprove bool
}

// required returns how many approvers the check requires.
func (a Approvals) required() int {
	if a.MinApprovers == 0 {
		return a.Approvers
	}
	return a.MinApprovers
}

// Member is somebody with a role or a permission. Kind is person, group, everyone (a
// group that everyone who contributes belongs to) or pipelines (an identity that jobs
// have).
type Member struct {
	Name string
	Kind MemberKind
}

// MemberKind is the kind of a Member.
type MemberKind string

// The kinds of members.
const (
	Person    MemberKind = "person"
	Group     MemberKind = "group"
	Everyone  MemberKind = "everyone"
	Pipelines MemberKind = "pipelines"
)

// Branch is a branch of a repository.
type Branch struct {
	Where string
	// PoliciesRead reports that its policies were read, and RightsRead its permissions.
	PoliciesRead, RightsRead bool
	// Reviews are the enabled policies that block a merge without a review of the flow
	// file.
	Reviews []Review
	// Contributors may push to the branch, as far as no policy prevents it. Exempt may
	// bypass the policies.
	Contributors, Exempt []Member
}

// Review is a policy that requires reviewers.
type Review struct {
	Reviewers         int
	CreatorVoteCounts bool
}

// Pool is an agent pool.
type Pool struct {
	Name string
	// Open reports that every pipeline of the project may run on its agents.
	Open bool
	// Lasting reports that an agent runs one job after another.
	Lasting bool
}

// devopsKinds are the findings about Azure DevOps.
var devopsKinds = []Kind{
	{"connection-unprotected", High, "The connection has neither a required template nor an approval: every pipeline that may use it can work on {hosts} with steps of its own, without this program and its rules.",
		"Project settings, Service connections, {name}, Approvals and checks: add the check Required template."},
	{"connection-no-template", Medium, "After an approval, a pipeline that may use the connection can work on {hosts} with steps of its own: nothing requires the template that runs this program.",
		"Project settings, Service connections, {name}, Approvals and checks: add the check Required template."},
	{"connection-no-approval", Medium, "The connection writes to {hosts}, and Azure DevOps asks nobody before a stage that uses it begins: only the pipeline names the environment that is approved.",
		"Project settings, Service connections, {name}, Approvals and checks: add an approval."},
	{"connection-open", High, "Every pipeline of the project, also one that somebody adds later, may use the connection to {hosts}.",
		"Project settings, Service connections, {name}, Security, Pipeline permissions: restrict it to the pipelines that release."},
	{"identity-on-both-sides", Medium, "One identity ({identity}) signs in to {hosts}, which are not trusted alike: what takes it over on one side has its rights on the other.",
		"Use a second connection with an identity of its own for the side of less trust (targetSubscription)."},
	{"identity-writes-both-sides", High, "The identity {identity}, which writes to {hosts}, may also write to {upper}, which is trusted more: what takes it over there can change what is released.",
		"Use a second connection with an identity of its own for {hosts=}, and take from this one what lets it write to {upper=}."},
	{"identity-of-agents", High, "The identity of the agents' machines signs in to {hosts}, and every pipeline of the project may run on these agents: any script gets its tokens, whatever checks the connection has.",
		"Use a service connection with workload identity federation, or restrict the agent pool {pool} to the pipelines that release (Project settings, Agent pools, Security, Pipeline permissions)."},
	{"environment-not-named", Medium, "The flow does not name the environment whose approval counts, so a pipeline can name one that its author created and can approve.",
		"Add environment: NAME to require.approval of the flow {flow}."},
	{"environment-no-approval", High, "Nobody is asked before a stage that uses it begins, although the flow {flow} counts its approvals.",
		"Open it in Azure DevOps, Approvals and checks: add an approval, or enable the one that is disabled."},
	{"environment-requester-approves", Medium, "Those who request a run may approve it themselves as far as Azure DevOps is concerned; this program does not count it, but other steps of the stage would run.",
		"Open it in Azure DevOps, Approvals and checks, the approval, Advanced: clear \"Allow approvers to approve their own runs\"."},
	{"environment-too-few-approvers", Medium, "Azure DevOps lets the stage begin after {has} of the {required} approvals that the flow {flow} requires.",
		"Open it in Azure DevOps, Approvals and checks, the approval, Advanced: set the minimum number of approvers to {required}."},
	{"environment-administrator", High, "{who} is an administrator of it by name, as the person who creates it becomes, and can remove its approval or change who approves.",
		"Open it in Azure DevOps, Security: give the role Administrator to the group of those who decide about releases, and take it from {who=}."},
	{"environment-administrators-wide", High, "{who} has the role Administrator: everyone who contributes can remove its approval or change who approves.",
		"Open it in Azure DevOps, Security: give the role Administrator to the group of those who decide about releases, and the role User to {who=}."},
	{"flow-file-no-policy", High, "No policy requires a review before the flow file changes: {who} can change its rules alone.",
		"Repos, Branches, the branch, Branch policies: require a minimum number of reviewers, and do not let requestors approve their own changes."},
	{"flow-file-self-review", High, "The vote of the person who proposes a change counts and is enough: anyone who may contribute can change the rules alone.",
		"Repos, Branches, the branch, Branch policies, Require a minimum number of reviewers: clear \"Allow requestors to approve their own changes\"."},
	{"flow-file-creator-vote", Medium, "The vote of the person who proposes a change counts as one of the reviews of the rules.",
		"Repos, Branches, the branch, Branch policies, Require a minimum number of reviewers: clear \"Allow requestors to approve their own changes\"."},
	{"flow-file-bypass", High, "{who} may bypass the branch's policies, and so change the rules without a review.",
		"Project settings, Repositories, the repository, Security, {who=}: set \"Bypass policies when pushing\" and \"Bypass policies when completing pull requests\" to Not set, for the branch too."},
	{"flow-file-contributors", Medium, "{who} may contribute to the repository: the script of any pipeline of the project can propose other rules, and a policy alone keeps them out.",
		"Project settings, Repositories, the repository, Security, {who=}: set Contribute to Not set."},
	{"pool-open", High, "Every pipeline of the project may run on agents that keep their disk between jobs: a script of any of them can change what this step runs with, and wait for its credentials.",
		"Project settings, Agent pools, {name}, Security, Pipeline permissions: restrict it to the pipelines that release, or let each agent run a single job."},
}

// devops adds the findings about Azure DevOps. What the identities may do at the
// registries is known from these.
func (j *judge) devops(d *DevOps, writes func(host, objectID string) bool) {
	for _, u := range d.Unread {
		j.find(registryKinds, "unread", u.Where, "what", u.What, "reason", u.Reason, "grant", u.Grant)
	}
	for _, c := range d.Connections {
		j.connection(c, d.Pool)
	}
	j.identities(d.Connections, writes)
	for _, e := range d.Environments {
		j.environment(e)
	}
	if d.FlowFile != nil {
		j.flowFile(d.FlowFile)
	}
	if p := d.Pool; p != nil && p.Open && p.Lasting {
		j.find(devopsKinds, "pool-open", "agent pool "+p.Name, "name", p.Name)
	}
}

func (j *judge) connection(c Connection, pool *Pool) {
	var hosts, targets []string
	for _, a := range c.Access {
		hosts = append(hosts, a.Host)
		if a.Target {
			targets = append(targets, a.Host)
		}
	}
	where := "service connection " + c.Name
	facts := []string{"name", c.Name, "hosts", list(hosts)}
	switch {
	case !c.Read:
	case !c.Template && !c.Approval:
		j.find(devopsKinds, "connection-unprotected", where, facts...)
	case !c.Template:
		j.find(devopsKinds, "connection-no-template", where, facts...)
	case !c.Approval && len(targets) > 0:
		j.find(devopsKinds, "connection-no-approval", where, "name", c.Name, "hosts", list(targets))
	}
	if c.Open {
		j.find(devopsKinds, "connection-open", where, facts...)
	}
	if c.Machine && pool != nil && pool.Open {
		j.find(devopsKinds, "identity-of-agents", where, append(facts, "pool", pool.Name)...)
	}
}

// identities finds identities that work on registries of different trust. Connections
// with the same client ID have one identity.
func (j *judge) identities(connections []Connection, writes func(host, objectID string) bool) {
	for i, c := range connections {
		access, objectID, known := c.Access, c.ObjectID, false
		for k, other := range connections {
			if k == i || c.ClientID == "" || !strings.EqualFold(other.ClientID, c.ClientID) {
				continue
			}
			known = known || k < i
			access = append(access[:len(access):len(access)], other.Access...)
			if objectID == "" {
				objectID = other.ObjectID
			}
		}
		if known || len(access) == 0 {
			continue
		}
		least := access[0].Trust
		for _, a := range access {
			least = min(least, a.Trust)
		}
		var lower, upper, written []string
		for _, a := range access {
			switch {
			case a.Trust == least:
				lower = append(lower, a.Host)
			case writes(a.Host, objectID):
				written = append(written, a.Host)
				fallthrough
			default:
				upper = append(upper, a.Host)
			}
		}
		where, identity := "service connection "+c.Name, c.ClientID
		if identity == "" {
			identity = c.Name
		}
		switch {
		case len(written) > 0:
			j.find(devopsKinds, "identity-writes-both-sides", where, "identity", identity, "hosts", list(lower), "upper", list(written))
		case len(upper) > 0:
			j.find(devopsKinds, "identity-on-both-sides", where, "identity", identity, "hosts", list(append(upper, lower...)))
		}
	}
}

func (j *judge) environment(e Environment) {
	if e.Where == "" {
		j.find(devopsKinds, "environment-not-named", "flow "+e.Flow, "flow", e.Flow)
		return
	}
	if e.Read {
		most, requester := 0, false
		for _, a := range e.Approvals {
			most = max(most, a.required())
			requester = requester || a.RequesterCanApprove
		}
		switch {
		case len(e.Approvals) == 0:
			j.find(devopsKinds, "environment-no-approval", e.Where, "flow", e.Flow)
		case most < e.MinApprovers:
			j.find(devopsKinds, "environment-too-few-approvers", e.Where, "flow", e.Flow, "has", strconv.Itoa(most), "required", strconv.Itoa(e.MinApprovers))
		}
		if requester && !e.RequesterCanApprove {
			j.find(devopsKinds, "environment-requester-approves", e.Where)
		}
	}
	for _, who := range e.Administrators {
		switch who.Kind {
		case Person:
			j.find(devopsKinds, "environment-administrator", e.Where, "who", who.Name)
		case Everyone, Pipelines:
			j.find(devopsKinds, "environment-administrators-wide", e.Where, "who", who.Name)
		}
	}
}

func (j *judge) flowFile(b *Branch) {
	if b.PoliciesRead {
		others, strict := 0, false // how many others a policy requires at most
		for _, r := range b.Reviews {
			by := r.Reviewers
			if r.CreatorVoteCounts {
				by--
			} else if by > 0 {
				strict = true
			}
			others = max(others, by)
		}
		switch {
		case len(b.Reviews) == 0:
			who := "anyone who may contribute to the repository"
			if len(b.Contributors) > 0 {
				who = names(b.Contributors)
			}
			j.find(devopsKinds, "flow-file-no-policy", b.Where, "who", who)
		case others < 1:
			j.find(devopsKinds, "flow-file-self-review", b.Where)
		case !strict:
			j.find(devopsKinds, "flow-file-creator-vote", b.Where)
		}
	}
	for _, who := range b.Exempt {
		j.find(devopsKinds, "flow-file-bypass", b.Where, "who", who.Name)
	}
	for _, who := range b.Contributors {
		if who.Kind == Pipelines || who.Kind == Everyone {
			j.find(devopsKinds, "flow-file-contributors", b.Where, "who", who.Name)
		}
	}
}

// longestList limits the names in a list.
const longestList = 8

// list returns different names, separated by commas.
func list(all []string) string {
	var different []string
	for _, name := range all {
		if !slices.Contains(different, name) {
			different = append(different, name)
		}
	}
	if more := len(different) - longestList; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(different[:longestList], ", "), more)
	}
	return strings.Join(different, ", ")
}

func names(members []Member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.Name)
	}
	return list(all)
}

// writes reports whether an identity may write to a registry.
func (s Setup) writes(host, objectID string) bool { return false }
