package doctor

import (
	"slices"
	"strconv"
	"strings"
)

// DevOps is what was read of Azure DevOps. The types here are few and plain, because
// each adds to the program.
type DevOps struct {
	// Connections are the service connections that sign in to the registries.
	Connections []*Connection
	// Environments are the resources whose approval the flows count.
	Environments []*Environment
	// FlowFile is the branch that the flow file is read from; nil if it is read from
	// elsewhere.
	FlowFile *Branch

	// Pool is the agent pool of this step; empty if it is not known. PoolOpen reports
	// that every pipeline of the project may run on its agents, and PoolLasting that an
	// agent runs one job after another.
	Pool                  string
	PoolOpen, PoolLasting bool

	// Unread has a finding for each thing that could not be read.
	Unread []Finding
}

// Connection is a service connection, and the checks on it.
type Connection struct {
	ID, Name string
	ClientID string // of its identity; empty if it has none
	ObjectID string // of its identity; empty if Azure DevOps does not know it
	Access   []*Access
	// Machine reports that its identity is that of the agents' machines.
	Machine bool
	// Read reports that its checks were read.
	Read, Template, Approval bool
	// Open reports that every pipeline of the project may use it.
	Open bool
}

// Access is a registry that a service connection signs in to.
type Access struct {
	Host   string
	Trust  int  // a higher number is trusted more
	Target bool // of a flow
	// Connection is the ID of the service connection that the step names for it.
	Connection string
}

// Environment is a resource whose approval a flow counts.
type Environment struct {
	Where string // such as "environment Production"; empty if the flow names none
	Flow  string
	// MinApprovers and RequesterCanApprove are the flow's rules.
	MinApprovers        int
	RequesterCanApprove bool

	// Read reports that its checks were read. Approvals is the number of its approval
	// checks that are enabled, Required the most approvers that one of them requires,
	// and SelfApproval reports that the requester may give one.
	Read                bool
	Approvals, Required int
	SelfApproval        bool
	// Persons are the people who are administrators by name, Wide the administrators
	// that are everybody or what jobs run as.
	Persons, Wide []string
}

// Branch is the branch of the flow file.
type Branch struct {
	Where string
	// Read reports that its policies were read. Reviews is the number of enabled
	// policies that block a merge without a reviewer of the file, Others the most
	// reviewers besides the author of a change that one of them requires, and Strict
	// reports that the author's vote does not count for one of them.
	Read            bool
	Reviews, Others int
	Strict          bool
	// Contributors may push to the branch, as far as no policy prevents it. Wide are
	// those of them that are everybody or what jobs run as. Exempt may bypass the
	// policies.
	Contributors, Wide, Exempt []string
}

// devopsKinds are the findings about Azure DevOps.
var devopsKinds = []Kind{
	{"connection-unprotected", High, "It has neither a required template nor an approval: every pipeline that may use it can work on {hosts} with steps of its own, without this program and its rules.",
		onConnection + "Approvals and checks: add the check Required template."},
	{"connection-no-template", Medium, "After an approval, a pipeline that may use it can work on {hosts} with steps of its own: nothing requires the template that runs this program.",
		onConnection + "Approvals and checks: add the check Required template."},
	{"connection-no-approval", Medium, "It writes to {hosts}, and Azure DevOps asks nobody before a stage that uses it begins: only the pipeline names the environment that is approved.",
		onConnection + "Approvals and checks: add an approval."},
	{"connection-open", High, "Every pipeline of the project, also one that somebody adds later, may use it for {hosts}.",
		onConnection + "Security, Pipeline permissions: restrict it to the pipelines that release."},
	{"identity-on-both-sides", Medium, "One identity ({identity}) signs in to {hosts}, and to {upper}, which is trusted more: what takes it over on one side has its rights on the other.",
		"Use a second connection with an identity of its own for the side of less trust (targetSubscription)."},
	{"identity-writes-both-sides", High, "The identity {identity}, which signs in to {hosts}, may write to {upper}, which is trusted more: what takes it over there can change what is released.",
		"Use a second connection with an identity of its own for {hosts=}, and take from this one what lets it write to {upper=}."},
	{"identity-of-agents", High, "The identity of the agents' machines signs in to {hosts}, and every pipeline of the project may run there: any script gets its tokens, whatever checks the connection has.",
		"Use a service connection with workload identity federation, or restrict the agent pool {pool=} to the pipelines that release."},
	{"environment-not-named", Medium, "The flow does not name the environment whose approval counts, so a pipeline can name one that its author created and can approve.",
		"Add environment: NAME to require.approval of the flow."},
	{"environment-no-approval", High, "Nobody is asked before a stage that uses it begins, although the flow {flow} counts its approvals.",
		onResource + "Approvals and checks: add an approval, or enable the one that is disabled."},
	{"environment-requester-approves", Medium, "Those who request a run may approve it: this program does not count that, but other steps of the stage would run.",
		onResource + "Approvals and checks, the approval, Advanced: clear \"Allow approvers to approve their own runs\"."},
	{"environment-too-few-approvers", Medium, "Azure DevOps lets the stage begin after {has} of the {required} approvals that the flow {flow} requires.",
		onResource + "Approvals and checks, the approval, Advanced: set the minimum number of approvers to {required}."},
	{"environment-administrator", High, "Each of these persons is an administrator of it by name, as the one who creates it becomes, and can remove its approval or change who approves: {who}.",
		onResource + "Security: give the role Administrator to the group of those who decide about releases, and take it from these persons."},
	{"environment-administrators-wide", High, "Everybody who contributes, or the script of any pipeline, can remove its approval or change who approves, because these have the role Administrator: {who}.",
		onResource + "Security: give the role Administrator to the group of those who decide about releases, and the role User to these."},
	{"flow-file-no-policy", High, "No policy requires a review before the flow file changes. These can change its rules alone: {who}.",
		onBranch + "require a minimum number of reviewers, and do not let requestors approve their own changes."},
	{"flow-file-self-review", High, "The vote of the author of a change counts and is enough: anyone who may contribute can change the rules alone.",
		onBranch + "clear \"Allow requestors to approve their own changes\"."},
	{"flow-file-creator-vote", Medium, "The vote of the author of a change counts as one of the reviews of the rules.",
		onBranch + "clear \"Allow requestors to approve their own changes\"."},
	{"flow-file-bypass", High, "These may bypass the branch's policies, and so change the rules without a review: {who}.",
		onRepository + "set \"Bypass policies when pushing\" and \"Bypass policies when completing pull requests\" to Not set, for the branch too."},
	{"flow-file-contributors", Medium, "The script of any pipeline of the project can propose other rules, and a policy alone keeps them out, because these may contribute to the repository: {who}.",
		onRepository + "set Contribute to Not set."},
	{"pool-open", High, "Every pipeline of the project may run on agents that keep their disk between jobs: a script of any of them can change what this step runs with, and wait for its credentials.",
		"Project settings, Agent pools, {pool=}, Security, Pipeline permissions: restrict it to the pipelines that release, or let each agent run a single job."},
}

// Where to click.
const (
	onConnection = "Project settings, Service connections, {name=}, "
	onResource   = "Open it in Azure DevOps, "
	onBranch     = "Repos, Branches, the branch, Branch policies: "
	onRepository = "Project settings, Repositories, the repository, Security, each of them: "
)

// UnreadAt returns the finding for something that could not be read.
func UnreadAt(where, what, reason, grant string) Finding {
	j := &judge{}
	j.find(registryKinds, "unread", where, "what", what, "reason", reason, "grant", grant)
	return j.Findings[0]
}

// devops adds the findings about Azure DevOps. writes reports whether an identity may
// write to a registry, by its object ID.
func (j *judge) devops(d *DevOps, writes func(host, objectID string) bool) {
	j.Findings = append(j.Findings, d.Unread...)
	for _, c := range d.Connections {
		j.connection(c, d)
		j.identity(c, d.Connections, writes)
	}
	for _, e := range d.Environments {
		j.environment(e)
	}
	if d.FlowFile != nil {
		j.flowFile(d.FlowFile)
	}
	if d.PoolOpen && d.PoolLasting {
		j.find(devopsKinds, "pool-open", "agent pool "+d.Pool, "pool", d.Pool)
	}
}

// found adds a finding about Azure DevOps if it is one.
func (j *judge) found(is bool, id, where string, facts ...string) {
	if is {
		j.find(devopsKinds, id, where, facts...)
	}
}

func (j *judge) connection(c *Connection, d *DevOps) {
	var hosts, targets []string
	for _, a := range c.Access {
		hosts = append(hosts, a.Host)
		if a.Target {
			targets = append(targets, a.Host)
		}
	}
	where := "service connection " + c.Name
	facts := []string{"name", c.Name, "pool", d.Pool, "hosts", list(hosts)}
	j.found(c.Read && !c.Template && !c.Approval, "connection-unprotected", where, facts...)
	j.found(c.Read && !c.Template && c.Approval, "connection-no-template", where, facts...)
	j.found(c.Open, "connection-open", where, facts...)
	j.found(c.Machine && d.PoolOpen, "identity-of-agents", where, facts...)
	facts[5] = list(targets)
	j.found(c.Read && c.Template && !c.Approval && len(targets) > 0, "connection-no-approval", where, facts...)
}

// identity finds an identity that also signs in to registries of more trust.
// Connections with the same client ID have one identity.
func (j *judge) identity(c *Connection, all []*Connection, writes func(host, objectID string) bool) {
	var hosts, upper, written []string
	least := c.Access[0].Trust
	for _, a := range c.Access {
		least = min(least, a.Trust)
	}
	for _, other := range all {
		if other != c && (c.ClientID == "" || !strings.EqualFold(other.ClientID, c.ClientID)) {
			continue
		}
		for _, a := range other.Access {
			switch {
			case a.Trust <= least:
				hosts = append(hosts, a.Host)
			case writes(a.Host, other.ObjectID) || writes(a.Host, c.ObjectID):
				written = append(written, a.Host)
			default:
				upper = append(upper, a.Host)
			}
		}
	}
	where, identity := "service connection "+c.Name, c.ClientID
	if identity == "" {
		identity = c.Name
	}
	j.found(len(written) > 0, "identity-writes-both-sides", where, "identity", identity, "hosts", list(hosts), "upper", list(written))
	j.found(len(upper) > 0, "identity-on-both-sides", where, "identity", identity, "hosts", list(hosts), "upper", list(upper))
}

func (j *judge) environment(e *Environment) {
	if e.Where == "" {
		j.found(true, "environment-not-named", "flow "+e.Flow)
		return
	}
	facts := []string{"flow", e.Flow, "has", strconv.Itoa(e.Required), "required", strconv.Itoa(e.MinApprovers)}
	j.found(e.Read && e.Approvals == 0, "environment-no-approval", e.Where, facts...)
	j.found(e.Approvals > 0 && e.Required < e.MinApprovers, "environment-too-few-approvers", e.Where, facts...)
	j.found(e.SelfApproval && !e.RequesterCanApprove, "environment-requester-approves", e.Where)
	j.found(len(e.Persons) > 0, "environment-administrator", e.Where, "who", list(e.Persons))
	j.found(len(e.Wide) > 0, "environment-administrators-wide", e.Where, "who", list(e.Wide))
}

func (j *judge) flowFile(b *Branch) {
	who := list(b.Contributors)
	if who == "" {
		who = "anyone who may contribute to the repository"
	}
	j.found(b.Read && b.Reviews == 0, "flow-file-no-policy", b.Where, "who", who)
	j.found(b.Reviews > 0 && b.Others < 1, "flow-file-self-review", b.Where)
	j.found(b.Others > 0 && !b.Strict, "flow-file-creator-vote", b.Where)
	j.found(len(b.Exempt) > 0, "flow-file-bypass", b.Where, "who", list(b.Exempt))
	j.found(len(b.Wide) > 0, "flow-file-contributors", b.Where, "who", list(b.Wide))
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
		different = append(different[:longestList], "and "+strconv.Itoa(more)+" more")
	}
	return strings.Join(different, ", ")
}
