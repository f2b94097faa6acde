package azdo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"

	"acrpromote/internal/approval"
	"acrpromote/internal/defect"
	"acrpromote/internal/doctor"
	"acrpromote/internal/sorting"
)

// This file reads, for the action doctor, who may use and change what the flows rely on
// in Azure DevOps.

// Locations that only doctor uses, by the server's identifiers. They are at the
// collection's own address.
const (
	locationPermissions  = "b5b9a4a4-e6cd-4096-853c-ab7d8b0c4eb2" // package pipelinepermissions
	locationRoles        = "9461c234-c84c-4ed2-b918-2f0f92ad0a35" // azure-devops-node-api, SecurityRolesApi
	locationACLs         = "18a2ad18-7571-46ae-bec7-0c7da1495885" // package security
	locationPolicies     = "2c420070-a0a2-49cc-9639-c9f271c5ff07" // package git
	locationRepositories = "225f7195-f9c7-4d14-ab28-a83f7ff77e1f" // package git
	locationQueue        = "900fa995-c559-4923-aae7-f8424fe4fbea" // package taskagent
)

// Limits of what doctor reads.
const (
	mostConnections  = 50
	mostEnvironments = 50
	mostPolicies     = 1000
	atOnce           = 6 // requests
)

// DoctorQuery is what doctor asks about.
type DoctorQuery struct {
	// Access has the registries that service connections sign in to, by the ID of the
	// connection.
	Access map[string][]doctor.Access
	// Host returns the registry of a host that the flows know.
	Host func(host string) (doctor.Access, bool)
	// Principal returns the registries at which an identity has a role, by its object ID.
	Principal func(objectID string) []doctor.Access
	// Environments are the resources whose approval the flows count, with the rules of
	// the flows. Where is the name in the form of approval.Rules.Environment.
	Environments []doctor.Environment
	// Repository, Ref and Path are those of the flow file; empty if it is not read from
	// the server.
	Repository, Ref, Path string
}

// reading collects what was read, from several goroutines.
type reading struct {
	*Service
	ctx   context.Context
	mu    sync.Mutex
	found doctor.DevOps
	all   sync.WaitGroup
	slots chan struct{}
}

// Doctor reads who may use and change what the flows rely on. What cannot be read is
// listed with what to grant.
func (s *Service) Doctor(ctx context.Context, q DoctorQuery) doctor.DevOps {
	_, refusals := s.Run(ctx)
	r := &reading{Service: s, ctx: ctx, slots: make(chan struct{}, atOnce)}
	if s.areas == nil {
		u := doctor.Unread{What: "Azure DevOps", Reason: "it could not be reached", Grant: "Run the step again."}
		if len(refusals) > 0 {
			u.Reason, u.Grant = refusals[0].Reason, refusals[0].Remedy
		}
		r.unread("Azure DevOps", u)
		return r.found
	}
	r.start(func() { r.connections(q) })
	environments := q.Environments
	if len(environments) > mostEnvironments {
		r.tooMany("environments", len(environments), mostEnvironments)
		environments = environments[:mostEnvironments]
	}
	r.found.Environments = slices.Clone(environments)
	for i := range r.found.Environments {
		if e := &r.found.Environments[i]; e.Where != "" {
			r.start(func() { r.environment(e) })
		}
	}
	if q.Repository != "" {
		r.start(func() { r.flowFile(q) })
	}
	r.start(r.pool)
	r.all.Wait()
	sorting.By(r.found.Unread, func(a, b doctor.UnreadIn) int {
		return strings.Compare(a.Where+"\n"+a.What, b.Where+"\n"+b.What)
	})
	return r.found
}

// start runs f in a goroutine of its own.
func (r *reading) start(f func()) {
	r.all.Go(func() {
		defer defect.Catch(r.ctx)
		f()
	})
}

// read reads one document from the collection's own address. If that fails, it adds
// what was to be read to what is unknown and reports false.
func (r *reading) read(where, what, permission, location, version string, route map[string]string, query url.Values, v any) bool {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.ctx.Done():
	}
	err := r.send(r.ctx, r.base, "GET", location, version, route, query, nil, v)
	if err == nil {
		if c, ok := v.(interface{ check() error }); ok {
			err = c.check()
		}
	}
	if err != nil {
		r.failed(where, what, err, permission)
	}
	return err == nil
}

// failed adds what could not be read to what is unknown, with why, and what to grant
// if the job's identity may not read it.
func (r *reading) failed(where, what string, err error, permission string) {
	u := doctor.Unread{What: what, Grant: r.unreadable(what, err, permission).Remedy}
	var a *statusError
	var m *malformed
	switch {
	case errors.As(err, &a):
		u.Reason = a.Error()
		if a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden || a.Status == http.StatusNotFound {
			u.Grant = r.grant(permission)
		}
	case errors.As(err, &m):
		u.Reason = "the response is invalid: " + r.secrets.Line(m.reason)
	default:
		u.Reason = r.cause(err)
	}
	u.Reason = r.secrets.Redact(u.Reason)
	r.unread(where, u)
}

func (r *reading) unread(where string, u doctor.Unread) {
	u.What, u.Reason = strings.ToUpper(u.What[:1])+u.What[1:], strings.TrimSuffix(u.Reason, ".")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found.Unread = append(r.found.Unread, doctor.UnreadIn{Where: where, Unread: u})
}

func (r *reading) tooMany(what string, count, most int) {
	r.unread("Azure DevOps", doctor.Unread{What: fmt.Sprintf("the %s after the first %d", what, most),
		Reason: fmt.Sprintf("there are %d", count), Grant: "Run doctor for fewer flows at a time."})
}

// endpoints are service connections. One that cannot be viewed is left out, or null.
type endpoints struct {
	Value *[]*endpoint `json:"value"`
}

type endpoint struct {
	ID            string         `json:"id"`
	Name          string         `json:"name"`
	URL           string         `json:"url"`
	Data          map[string]any `json:"data"`
	Authorization struct {
		Scheme     string         `json:"scheme"`
		Parameters map[string]any `json:"parameters"`
	} `json:"authorization"`
}

func (e *endpoints) check() error {
	if e.Value == nil {
		return &malformed{reason: "it lists nothing"}
	}
	return nil
}

// text returns the first value of the keys, in any case, that is text.
func text(of map[string]any, keys ...string) string {
	for _, key := range keys {
		for name, value := range of {
			if s, ok := value.(string); ok && s != "" && strings.EqualFold(name, key) {
				return s
			}
		}
	}
	return ""
}

// connections reads the service connections that sign in to the registries of the
// flows: those that the step names, those whose identity has a role at one of the
// registries, and those for the host of one.
func (r *reading) connections(q DoctorQuery) {
	const where, what = "service connections", "the list"
	var list endpoints
	if !r.read(where, what, `the role Reader on the service connections`, locationEndpoints, "7.1-preview.4", r.inProject(nil), nil, &list) {
		list.Value = &[]*endpoint{}
	}
	var found []doctor.Connection
	seen := map[string]bool{}
	for _, e := range *list.Value {
		if e == nil {
			continue
		}
		c := doctor.Connection{ID: approval.GUID(e.ID), Name: e.Name,
			ClientID: text(e.Authorization.Parameters, "serviceprincipalid"), ObjectID: text(e.Data, "spnObjectId"),
			Machine: e.Authorization.Scheme == "ManagedServiceIdentity"}
		if c.ClientID == "" {
			c.ClientID = text(e.Data, "msiClientId")
		}
		for id, access := range q.Access {
			if approval.SameGUID(id, c.ID) {
				c.Access, seen[id] = access, true
			}
		}
		if len(c.Access) == 0 && c.ObjectID != "" {
			c.Access = q.Principal(c.ObjectID)
		}
		if len(c.Access) == 0 {
			host := text(e.Authorization.Parameters, "loginServer")
			if host == "" {
				host = strings.Trim(strings.TrimPrefix(e.URL, "https://"), "/")
			}
			if access, ok := q.Host(host); ok {
				c.Access = []doctor.Access{access}
			}
		}
		if len(c.Access) > 0 {
			found = append(found, c)
		}
	}
	for id := range q.Access {
		if !seen[id] {
			found = append(found, doctor.Connection{ID: approval.GUID(id), Name: id, Access: q.Access[id]})
		}
	}
	sorting.By(found, func(a, b doctor.Connection) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	if len(found) > mostConnections {
		r.tooMany("service connections", len(found), mostConnections)
		found = found[:mostConnections]
	}
	r.found.Connections = found
	for i := range found {
		c := &found[i]
		resource := approval.Resource{Type: "endpoint", ID: c.ID, Name: c.Name}
		r.start(func() {
			for _, check := range r.enabled(resource, &c.Read) {
				c.Template = c.Template || check.Type == approval.TypeRequiredTemplate
				c.Approval = c.Approval || check.Type == approval.TypeApproval
			}
		})
		r.start(func() { c.Open = r.open(resource) })
	}
}

// enabled returns the checks on a resource that are enabled, and sets read if they
// were read.
func (r *reading) enabled(of approval.Resource, read *bool) []approval.Configuration {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.ctx.Done():
	}
	checks, err := r.readChecks(r.ctx, of)
	if err != nil {
		r.failed(of.String(), "the checks", err, "the role Reader on "+of.String())
	}
	*read = err == nil
	return slices.DeleteFunc(checks.Checks, func(c approval.Configuration) bool { return c.Disabled })
}

// pipelines are the pipelines that may use a resource. Where not all may, allPipelines
// is absent.
type pipelines struct {
	Resource *resource `json:"resource"`
	All      *struct {
		Authorized bool `json:"authorized"`
	} `json:"allPipelines"`
}

func (p *pipelines) check() error {
	if p.Resource == nil {
		return &malformed{reason: "it names no resource"}
	}
	return nil
}

// open reports whether every pipeline of the project may use a resource.
//
// https://learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/pipeline-permissions/get
func (r *reading) open(of approval.Resource) bool {
	var document pipelines
	route := r.inProject(map[string]string{"resourceType": of.Type, "resourceId": of.ID})
	where := of.String()
	if of.Type == "queue" {
		where = "agent pool " + of.Name
	}
	return r.read(where, "the pipelines that may use it", "the role Reader on "+where, locationPermissions, "7.1-preview.1", route, nil, &document) &&
		document.All != nil && document.All.Authorized
}

// roles are the roles on a resource. An identity has no descriptor there.
type roles struct {
	Value *[]struct {
		Identity identity `json:"identity"`
		Role     struct {
			Name string `json:"name"`
		} `json:"role"`
	} `json:"value"`
}

func (o *roles) check() error {
	if o.Value == nil {
		return &malformed{reason: "it lists nothing"}
	}
	return nil
}

// environment reads the checks and the administrators of a resource whose approval
// counts. Where is its name at first.
func (r *reading) environment(e *doctor.Environment) {
	resource := approval.NamedResource(e.Where)
	e.Where = resource.String()
	if resource.ID == "" {
		id, unknown := r.find(r.ctx, resource)
		if id == "" {
			why, _, _ := strings.Cut(unknown.Unknown, ". ")
			r.unread(e.Where, doctor.Unread{What: "it", Reason: why, Grant: r.grant("the role Reader on " + e.Where)})
			return
		}
		resource.ID = id
	}
	for _, check := range r.enabled(resource, &e.Read) {
		if check.Type == approval.TypeApproval {
			a := doctor.Approvals{RequesterCanApprove: true}
			if check.Settings != nil {
				a = doctor.Approvals{Approvers: len(check.Settings.Approvers), MinApprovers: check.Settings.Required, RequesterCanApprove: !check.Settings.RequesterExcluded}
			}
			e.Approvals = append(e.Approvals, a)
		}
	}
	scope := "distributedtask.environmentreferencerole"
	if resource.Type == "endpoint" {
		scope = "distributedtask.serviceendpointrole"
	}
	var list roles
	if !r.read(e.Where, "the administrators", "the role Reader on "+e.Where, locationRoles, "7.1-preview.1",
		map[string]string{"scopeId": scope, "resourceId": r.claims.ProjectID + "_" + resource.ID}, nil, &list) {
		return
	}
	for _, a := range *list.Value {
		if a.Role.Name == "Administrator" {
			e.Administrators = append(e.Administrators, member(a.Identity))
		}
	}
}

// wideGroups are the groups, without their project, that contributors belong to.
var wideGroups = []string{"Contributors", "Readers", "Project Valid Users", "Project Collection Valid Users", "Everyone"}

// member returns who an identity is, by its names.
func member(i identity) doctor.Member {
	m := doctor.Member{Name: i.DisplayName, Kind: doctor.Person}
	scope, name, grouped := strings.Cut(i.DisplayName, `]\`)
	switch {
	case strings.Contains(i.DisplayName, " Build Service ("):
		m.Kind = doctor.Pipelines
	case grouped && (slices.Contains(wideGroups, name) || name == strings.TrimPrefix(scope, "[")+" Team"):
		m.Kind = doctor.Everyone
	case grouped || i.person().Group:
		m.Kind = doctor.Group
	}
	return m
}

// policies are the policies of a branch.
type policies struct {
	Value *[]struct {
		Enabled  bool `json:"isEnabled"`
		Blocking bool `json:"isBlocking"`
		Deleted  bool `json:"isDeleted"`
		Type     struct {
			ID string `json:"id"`
		} `json:"type"`
		Settings struct {
			Minimum           number   `json:"minimumApproverCount"`
			CreatorVoteCounts bool     `json:"creatorVoteCounts"`
			Files             []string `json:"filenamePatterns"`
		} `json:"settings"`
	} `json:"value"`
}

func (p *policies) check() error {
	switch {
	case p.Value == nil:
		return &malformed{reason: "it lists nothing"}
	case len(*p.Value) >= mostPolicies:
		return &malformed{reason: fmt.Sprintf("it lists %d policies or more", mostPolicies)}
	}
	return nil
}

// The types of policies that require reviewers.
const (
	typeMinimumReviewers  = "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd"
	typeRequiredReviewers = "fd2167ab-b0be-447a-8ec8-39368250530e"
)

// flowFile reads the policies of the branch that the flow file is read from, and who
// may contribute to it.
func (r *reading) flowFile(q DoctorQuery) {
	const permission = `the permission "Read" on the repository`
	branch := &doctor.Branch{Where: fmt.Sprintf("flow file %s@%s:%s", q.Repository, q.Ref, q.Path)}
	kind, name := versionOf(q.Ref)
	if kind == "commit" {
		return // it cannot change
	}
	route := r.inProject(map[string]string{"repositoryId": q.Repository})
	if project, repository, elsewhere := strings.Cut(q.Repository, "/"); elsewhere {
		route["project"], route["repositoryId"] = project, repository
	}
	var repository struct {
		ID      string `json:"id"`
		Project struct {
			ID string `json:"id"`
		} `json:"project"`
	}
	if !r.read(branch.Where, "the repository", permission, locationRepositories, "7.1-preview.1", route, nil, &repository) {
		return
	}
	id, project := approval.GUID(repository.ID), approval.GUID(repository.Project.ID)
	r.found.FlowFile = branch
	if kind == "branch" {
		r.start(func() {
			var list policies
			query := url.Values{"repositoryId": {id}, "refName": {"refs/heads/" + name}, "$top": {strconv.Itoa(mostPolicies)}}
			if branch.PoliciesRead = r.read(branch.Where, "the branch policies", permission, locationPolicies, "7.1-preview.1", map[string]string{"project": project}, query, &list); branch.PoliciesRead {
				branch.Reviews = list.reviews(q.Path)
			}
		})
	} else {
		branch.PoliciesRead = true // no policy protects a tag
	}
	branch.RightsRead = r.rights(branch, project, id, kind, name)
}

// reviews returns the policies that are enabled, block a merge and require reviewers
// of a file.
func (p *policies) reviews(file string) []doctor.Review {
	var found []doctor.Review
	for _, v := range *p.Value {
		minimum := v.Settings.Minimum.Value
		switch approval.GUID(v.Type.ID) {
		case typeMinimumReviewers:
		case typeRequiredReviewers:
			if covered := len(v.Settings.Files) == 0 || slices.ContainsFunc(v.Settings.Files, func(pattern string) bool {
				return pattern == "*" || pattern == "/*" || strings.EqualFold(strings.TrimPrefix(pattern, "/"), strings.TrimPrefix(file, "/"))
			}); !covered {
				continue
			}
			minimum = max(minimum, 1)
		default:
			continue
		}
		if v.Enabled && v.Blocking && !v.Deleted && minimum > 0 {
			found = append(found, doctor.Review{Reviewers: minimum, CreatorVoteCounts: v.Settings.CreatorVoteCounts})
		}
	}
	return found
}

// The permissions on repositories that count, in their security namespace.
// https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
const (
	gitNamespace = "2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87"

	gitContribute         = 4
	gitPolicyExempt       = 128
	gitBypassPullRequests = 32768
)

// acls are the access control lists of one token.
type acls struct {
	Value *[]struct {
		Inherit *bool `json:"inheritPermissions"`
		Entries map[string]struct {
			Allow    int `json:"allow"`
			Deny     int `json:"deny"`
			Extended *struct {
				Allow int `json:"effectiveAllow"`
			} `json:"extendedInfo"`
		} `json:"acesDictionary"`
	} `json:"value"`
}

func (a *acls) check() error {
	if a.Value == nil {
		return &malformed{reason: "it lists nothing"}
	}
	return nil
}

// rights reads who may contribute to a branch or bypass its policies, and reports
// whether it could. Whether a list has what is inherited is not documented: the lists
// of the project, the repository and the branch are read, and the innermost that names
// somebody counts.
//
// https://learn.microsoft.com/rest/api/azure/devops/security/access-control-lists/query
func (r *reading) rights(branch *doctor.Branch, project, id, kind, name string) bool {
	token := "repoV2/" + project
	tokens := []string{token, token + "/" + id, token + "/" + id + refToken(kind, name)}
	lists := make([]acls, len(tokens))
	read := make([]bool, len(tokens))
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() {
			defer defect.Catch(r.ctx)
			query := url.Values{"token": {tokens[i]}, "includeExtendedInfo": {"true"}}
			read[i] = r.read(branch.Where, "the permissions", `the permission "Read" on the repository`, locationACLs, "7.1-preview.1",
				map[string]string{"securityNamespaceId": gitNamespace}, query, &lists[i])
		})
	}
	all.Wait()
	if slices.Contains(read, false) {
		return false
	}
	effective := map[string]int{}
	for _, list := range lists {
		for _, acl := range *list.Value {
			if acl.Inherit != nil && !*acl.Inherit {
				clear(effective)
			}
			for descriptor, entry := range acl.Entries {
				allow := effective[descriptor]&^entry.Deny | entry.Allow
				if entry.Extended != nil {
					allow |= entry.Extended.Allow
				}
				effective[descriptor] = allow &^ entry.Deny
			}
		}
	}
	if len(effective) == 0 {
		r.unread(branch.Where, doctor.Unread{What: "the permissions", Reason: "Azure DevOps lists nobody", Grant: r.grant(`the permission "Read" on the repository`)})
		return false
	}
	for descriptor, allow := range effective {
		who := holder(descriptor)
		if allow&gitContribute != 0 {
			branch.Contributors = append(branch.Contributors, who)
		}
		if allow&(gitPolicyExempt|gitBypassPullRequests) != 0 {
			branch.Exempt = append(branch.Exempt, who)
		}
	}
	byName := func(a, b doctor.Member) int { return strings.Compare(a.Name, b.Name) }
	sorting.By(branch.Contributors, byName)
	sorting.By(branch.Exempt, byName)
	return true
}

// refToken is a branch or a tag in a security token: its segments are in hexadecimal
// UTF-16.
func refToken(kind, name string) string {
	token := "/refs/heads"
	if kind == "tag" {
		token = "/refs/tags"
	}
	for _, segment := range strings.Split(name, "/") {
		var raw []byte
		for _, u := range utf16.Encode([]rune(segment)) {
			raw = append(raw, byte(u), byte(u>>8))
		}
		token += "/" + hex.EncodeToString(raw)
	}
	return token
}

// holder returns who a descriptor of an access control list is. Names of groups are
// at another host, which does not get the job's token.
func holder(descriptor string) doctor.Member {
	kind, id, _ := strings.Cut(descriptor, ";")
	switch {
	case strings.HasSuffix(kind, ".ServiceIdentity") && strings.Contains(id, ":Build:"):
		return doctor.Member{Name: "the build service", Kind: doctor.Pipelines}
	case strings.HasSuffix(kind, ".ClaimsIdentity"):
		return doctor.Member{Name: id[strings.LastIndex(id, `\`)+1:], Kind: doctor.Person}
	case strings.HasSuffix(id, "-0-0-0-0-1"):
		return doctor.Member{Name: "the administrators", Kind: doctor.Group}
	case strings.HasSuffix(id, "-0-0-0-0-3"):
		return doctor.Member{Name: "all valid users", Kind: doctor.Everyone}
	}
	return doctor.Member{Name: "the group " + id, Kind: doctor.Group}
}

// queue is a project's access to an agent pool.
type queue struct {
	Name string `json:"name"`
	Pool *struct {
		Name    string `json:"name"`
		Hosted  bool   `json:"isHosted"`
		Options any    `json:"options"` // text, or a number
	} `json:"pool"`
}

func (q *queue) check() error {
	if q.Pool == nil {
		return &malformed{reason: "it names no pool"}
	}
	return nil
}

// pool reads the agent pool of this step's job and who may use it. Microsoft-hosted
// agents, and those of a pool that uses each for a single job, keep nothing.
//
// https://learn.microsoft.com/rest/api/azure/devops/distributedtask/queues/get-agent-queue
func (r *reading) pool() {
	id := 0
	if r.run.timeline != nil {
		for _, record := range r.run.timeline.Records {
			if approval.SameGUID(record.ID, r.claims.JobID) {
				id, _ = strconv.Atoi(string(record.Queue))
			}
		}
	}
	if id == 0 {
		r.unread("agent pool", doctor.Unread{What: "the pool of this step's job", Reason: "the run's timeline does not name its queue", Grant: "Run doctor as a step of a YAML pipeline."})
		return
	}
	var document queue
	text := strconv.Itoa(id)
	if !r.read("agent pool", "the queue "+text, "the role Reader on the agent pool", locationQueue, "7.1-preview.1", r.inProject(map[string]string{"queueId": text}), nil, &document) {
		return
	}
	options := strings.ToLower(fmt.Sprint(document.Pool.Options))
	const singleUse = 2 // of the options, as a number
	number, _ := strconv.Atoi(options)
	p := doctor.Pool{Name: document.Name, Lasting: !document.Pool.Hosted && !strings.Contains(options, "singleuseagents") && number&singleUse == 0}
	if !document.Pool.Hosted {
		p.Open = r.open(approval.Resource{Type: "queue", ID: text, Name: p.Name})
	}
	r.found.Pool = &p
}
