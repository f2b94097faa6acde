package azdo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
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
)

// This file reads, for the action doctor, who may use and change what the flows rely on
// in Azure DevOps. Its requests have addresses instead of locations, and its documents
// no types of their own: both would add much to the program. They ask for version 7.0,
// which Azure DevOps Server 2022 has too.

// Limits of what doctor reads.
const (
	mostRead     = 50 // service connections, and environments
	mostPolicies = 1000
	atOnce       = 6
)

// DoctorQuery is what doctor asks about.
type DoctorQuery struct {
	// Registries are those of the flows.
	Registries []*doctor.Access
	// Known reports whether an identity has a role at a registry, by its object ID.
	Known func(host, objectID string) bool
	// Environments are the resources whose approval the flows count, with the rules of
	// the flows. Where is the name in the form of approval.Rules.Environment.
	Environments []*doctor.Environment
	// Repository, Ref and Path are those of the flow file; empty if it is not read from
	// the server.
	Repository, Ref, Path string
}

// reading collects what was read, from several goroutines.
type reading struct {
	s     *Service
	ctx   context.Context
	q     DoctorQuery
	mu    sync.Mutex
	found *doctor.DevOps
	all   sync.WaitGroup
	slots chan struct{}
}

// Doctor reads who may use and change what the flows rely on. What cannot be read is
// listed with what to grant.
func (s *Service) Doctor(ctx context.Context, q DoctorQuery) *doctor.DevOps {
	_, refusals := s.Run(ctx)
	r := &reading{s: s, ctx: ctx, q: q, found: &doctor.DevOps{Environments: q.Environments}, slots: make(chan struct{}, atOnce)}
	if s.areas == nil {
		reason, grant := "it could not be reached", "Run the step again."
		if len(refusals) > 0 {
			reason, grant = refusals[0].Reason, refusals[0].Remedy
		}
		r.unread("Azure DevOps", "Azure DevOps", reason, grant)
		return r.found
	}
	r.start(r.connections)
	for i, e := range q.Environments {
		if i == mostRead {
			r.tooMany("environments")
			break
		}
		if e.Where != "" {
			r.start(func() { r.environment(e) })
		}
	}
	if q.Repository != "" {
		r.start(r.flowFile)
	}
	r.start(r.pool)
	r.all.Wait()
	return r.found
}

// start runs f in a goroutine of its own, a few at a time.
func (r *reading) start(f func()) {
	r.all.Go(func() {
		defer defect.Catch(r.ctx)
		r.slots <- struct{}{}
		defer func() { <-r.slots }()
		f()
	})
}

// read reads the document at an address below the collection's. If that fails, it adds
// what was to be read to what is unknown and returns nil.
func (r *reading) read(where, what, address string) any {
	var document any
	err := r.s.getAddress(r.ctx, address, &document)
	if err != nil {
		r.failed(where, what, err)
		return nil
	}
	return document
}

// getAddress reads the document at an address below the collection's into v.
func (s *Service) getAddress(ctx context.Context, address string, v any) error {
	request, err := s.request(ctx, http.MethodGet, s.collection.URL()+"/"+address)
	if err != nil {
		return err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return decode(raw, v)
}

// list is read for a document that lists values. It returns nil if that fails.
func (r *reading) list(where, what, address string) []any {
	document := r.read(where, what, address)
	values, ok := in(document, "value").([]any)
	if !ok && document != nil {
		r.failed(where, what, &malformed{reason: "it lists nothing"})
	}
	return values
}

// failed adds what could not be read to what is unknown, with why, and what to grant
// if the job's identity may not read it.
func (r *reading) failed(where, what string, err error) {
	permission := "the role Reader on " + where
	if strings.HasPrefix(where, "flow file ") {
		permission = `the permission "Read" on its repository`
	}
	reason, grant := r.s.cause(err), r.s.unreadable(what, err, permission).Remedy
	var a *statusError
	var m *malformed
	switch {
	case errors.As(err, &a):
		reason = a.Error()
		if a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden || a.Status == http.StatusNotFound {
			grant = r.s.grant(permission)
		}
	case errors.As(err, &m):
		reason = "the response is invalid: " + r.s.secrets.Line(m.reason)
	}
	r.unread(where, what, r.s.secrets.Redact(reason), grant)
}

func (r *reading) unread(where, what, reason, grant string) {
	finding := doctor.UnreadAt(where, strings.ToUpper(what[:1])+what[1:], strings.TrimSuffix(reason, "."), grant)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found.Unread = append(r.found.Unread, finding)
}

func (r *reading) tooMany(what string) {
	r.unread("Azure DevOps", "all but "+strconv.Itoa(mostRead)+" "+what, "there are too many", "Run doctor for fewer flows at a time.")
}

// in returns a value in a document by its names, separated by dots: nil if it is not
// there, and wrong if what should contain it is no object.
func in(document any, path string) any {
	for path != "" && document != nil {
		var name string
		name, path, _ = strings.Cut(path, ".")
		object, ok := document.(map[string]any)
		if !ok {
			return wrong
		}
		document = object[name]
	}
	return document
}

// wrong stands for a value that is not what it should be.
var wrong any = []any(nil)

// textIn returns text in a document, empty if it is not there.
func textIn(document any, path string) string {
	s, _ := in(document, path).(string)
	return s
}

// name returns a name in a document for a sentence.
func (r *reading) name(document any, path string) string {
	return r.s.secrets.Line(textIn(document, path))
}

// yes reports whether a value in a document is true.
func yes(document any, path string) bool {
	b, ok := in(document, path).(bool)
	return ok && b
}

// notNo reports whether a value in a document is there and is not false.
func notNo(document any, path string) bool {
	v := in(document, path)
	b, ok := v.(bool)
	return v != nil && (b || !ok)
}

// whole returns a whole number in a document: 0 if it is not there, and -1, which has
// all bits, if it is something else.
func whole(document any, path string) int {
	switch n := in(document, path).(type) {
	case nil:
		return 0
	case float64:
		return int(n)
	}
	return -1
}

// parameter returns the text in an object whose name is the key in any case: those of
// service connections differ by their type.
func parameter(of any, key string) string {
	object, _ := of.(map[string]any)
	for name, value := range object {
		if strings.EqualFold(name, key) {
			return textIn(value, "")
		}
	}
	return ""
}

// inProject returns the address of an API of the run's project.
func (r *reading) inProject(address string) string { return r.s.claims.ProjectID + "/_apis/" + address }

// connections reads the service connections that sign in to the registries of the
// flows: those that the step names, those whose identity has a role at one of the
// registries, and those for the host of one. One that cannot be viewed is left out of
// the list, or null.
func (r *reading) connections() {
	seen := map[string]bool{}
	for _, e := range r.list("service connections", "the list", r.inProject("serviceendpoint/endpoints?api-version=7.0")) {
		parameters, data := in(e, "authorization.parameters"), in(e, "data")
		c := &doctor.Connection{ID: approval.GUID(textIn(e, "id")), Name: r.name(e, "name"), ObjectID: parameter(data, "spnObjectId"),
			ClientID: cmp.Or(parameter(parameters, "serviceprincipalid"), parameter(data, "msiClientId")),
			Machine:  textIn(e, "authorization.scheme") == "ManagedServiceIdentity"}
		seen[c.ID] = true
		// An address has a path, such as /v2/, as its author wrote it.
		host := cmp.Or(parameter(parameters, "loginServer"), parameter(parameters, "registry"), textIn(e, "url"))
		host = strings.TrimPrefix(strings.ToLower(host), "https://")
		host, _, _ = strings.Cut(host, "/")
		r.connection(c, strings.TrimSuffix(host, ":443"))
	}
	for _, registry := range r.q.Registries {
		if id := approval.GUID(registry.Connection); id != "" && !seen[id] {
			seen[id] = true
			r.connection(&doctor.Connection{ID: id, Name: id}, "")
		}
	}
}

// connection reads a service connection if it signs in to a registry. host is its host.
func (r *reading) connection(c *doctor.Connection, host string) {
	for _, registry := range r.q.Registries {
		if approval.SameGUID(registry.Connection, c.ID) || strings.EqualFold(registry.Host, host) || c.ObjectID != "" && r.q.Known(registry.Host, c.ObjectID) {
			c.Access = append(c.Access, registry)
		}
	}
	switch n := len(r.found.Connections); {
	case len(c.Access) == 0 || n > mostRead:
		return
	case n == mostRead:
		r.tooMany("service connections")
	}
	r.found.Connections = append(r.found.Connections, c)
	r.start(func() {
		resource := approval.Resource{Type: "endpoint", ID: c.ID, Name: c.Name}
		for _, check := range r.checks(resource, &c.Read) {
			c.Template = c.Template || check.Type == approval.TypeRequiredTemplate && !check.Disabled
			c.Approval = c.Approval || check.Type == approval.TypeApproval && !check.Disabled
		}
		c.Open = r.open(resource.String(), "endpoint/"+c.ID)
	})
}

// checks returns the checks on a resource, and sets read if they were read.
func (r *reading) checks(of approval.Resource, read *bool) []approval.Configuration {
	checks, err := r.s.readChecks(r.ctx, of)
	if err != nil {
		r.failed(of.String(), "the checks", err)
	}
	*read = err == nil
	return checks.Checks
}

// open reports whether every pipeline of the project may use a resource. Where not all
// may, the response has no allPipelines.
//
// https://learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/pipeline-permissions/get
func (r *reading) open(where, resource string) bool {
	const what = "the pipelines that may use it"
	document := r.read(where, what, r.inProject("pipelines/pipelinepermissions/"+resource+"?api-version=7.0-preview.1"))
	if document != nil && textIn(document, "resource.id") == "" {
		r.failed(where, what, &malformed{reason: "it names no resource"})
	}
	return notNo(document, "allPipelines.authorized")
}

// environment reads the checks and the administrators of a resource whose approval
// counts. Where is its name at first.
//
// https://learn.microsoft.com/rest/api/azure/devops/securityroles/roleassignments/list
func (r *reading) environment(e *doctor.Environment) {
	resource := approval.NamedResource(e.Where)
	e.Where = resource.String()
	if resource.ID == "" {
		id, unknown := r.s.find(r.ctx, resource)
		if id == "" {
			why, _, _ := strings.Cut(unknown.Unknown, ". ")
			r.unread(e.Where, "it", why, r.s.grant("the role Reader on "+e.Where))
			return
		}
		resource.ID = id
	}
	for _, check := range r.checks(resource, &e.Read) {
		if check.Type != approval.TypeApproval || check.Disabled {
			continue
		}
		e.Approvals++
		s := check.Settings
		if s == nil {
			r.failed(e.Where, "the settings of its approval", &malformed{reason: "they do not list approvers"})
			e.Required = e.MinApprovers
			continue
		}
		e.Required = max(e.Required, cmp.Or(s.Required, len(s.Approvers))) // 0 is all of them
		e.SelfApproval = e.SelfApproval || !s.RequesterExcluded
	}
	scope := "environmentreferencerole"
	if resource.Type == "endpoint" {
		scope = "serviceendpointrole"
	}
	const what = "the administrators"
	for _, a := range r.list(e.Where, what, "_apis/securityroles/scopes/distributedtask."+scope+"/roleassignments/resources/"+
		r.s.claims.ProjectID+"_"+resource.ID+"?api-version=7.0-preview.1") {
		switch textIn(a, "role.name") {
		case "Administrator":
		case "":
			r.failed(e.Where, what, &malformed{reason: "it does not name a role"})
			return
		default:
			continue
		}
		// An identity has no descriptor there.
		switch name := r.name(a, "identity.displayName"); {
		case wide(name):
			e.Wide = append(e.Wide, name)
		case !groupUniqueName(name) && !groupUniqueName(textIn(a, "identity.uniqueName")):
			e.Persons = append(e.Persons, name)
		}
	}
}

// wide reports whether a name is that of a group that contributors belong to, or of an
// identity that jobs have.
func wide(name string) bool {
	scope, group, _ := strings.Cut(strings.TrimPrefix(name, "["), `]\`)
	switch group {
	case "Contributors", "Readers", "Project Valid Users", "Project Collection Valid Users", "Everyone", scope + " Team":
		return true
	}
	return strings.Contains(name, " Build Service (")
}

// flowFile reads the policies of the branch that the flow file is read from, and who
// may contribute to it. No policy protects a tag, and a commit cannot change.
//
// https://learn.microsoft.com/rest/api/azure/devops/git/policy-configurations/get
func (r *reading) flowFile() {
	const what = "the branch policies"
	branch := &doctor.Branch{Where: "flow file " + r.q.Repository + "@" + r.q.Ref + ":" + r.q.Path}
	kind, name := versionOf(r.q.Ref)
	if kind == "commit" {
		return
	}
	project, repository, elsewhere := strings.Cut(r.q.Repository, "/")
	if !elsewhere {
		project, repository = r.s.claims.ProjectID, r.q.Repository
	}
	document := r.read(branch.Where, "the repository", url.PathEscape(project)+"/_apis/git/repositories/"+url.PathEscape(repository)+"?api-version=7.0")
	if document == nil {
		return
	}
	id, project := approval.GUID(textIn(document, "id")), approval.GUID(textIn(document, "project.id"))
	r.found.FlowFile = branch
	branch.Read = kind == "tag"
	if !branch.Read {
		policies := r.list(branch.Where, what, project+"/_apis/git/policy/configurations?repositoryId="+id+"&refName="+url.QueryEscape("refs/heads/"+name)+"&$top="+strconv.Itoa(mostPolicies)+"&api-version=7.0")
		branch.Read = policies != nil && len(policies) < mostPolicies
		if len(policies) >= mostPolicies {
			r.failed(branch.Where, what, &malformed{reason: "it lists too many"})
		}
		for _, p := range policies {
			review(branch, p, strings.TrimPrefix(r.q.Path, "/"))
		}
	}
	r.rights(branch, "repoV2/"+project, "/"+id, refToken(kind, name))
}

// rights reads who may contribute to a branch or bypass its policies. Whether a list has
// what is inherited is not documented: the lists of the project, the repository and the
// branch are read, and the innermost that names somebody counts.
//
// https://learn.microsoft.com/rest/api/azure/devops/security/access-control-lists/query
func (r *reading) rights(branch *doctor.Branch, levels ...string) {
	const what = "the permissions"
	token, effective := "", map[string]int{}
	for _, level := range levels {
		token += level
		acls := r.list(branch.Where, what, "_apis/accesscontrollists/"+gitNamespace+"?token="+url.QueryEscape(token)+"&includeExtendedInfo=true&api-version=7.0")
		if acls == nil {
			return
		}
		for _, acl := range acls {
			if inherits, ok := in(acl, "inheritPermissions").(bool); ok && !inherits {
				effective = map[string]int{}
			}
			entries, ok := in(acl, "acesDictionary").(map[string]any)
			if !ok {
				r.failed(branch.Where, what, &malformed{reason: "it lists nothing"})
				return
			}
			for descriptor, entry := range entries {
				effective[descriptor] = (effective[descriptor] | whole(entry, "allow") | whole(entry, "extendedInfo.effectiveAllow")) &^ max(whole(entry, "deny"), 0)
			}
		}
	}
	if len(effective) == 0 {
		r.failed(branch.Where, what, &malformed{reason: "it lists nobody"})
	}
	for _, descriptor := range slices.Sorted(maps.Keys(effective)) {
		who, all := holder(r.s.secrets.Line(descriptor))
		if effective[descriptor]&gitContribute != 0 {
			branch.Contributors = append(branch.Contributors, who)
			if all {
				branch.Wide = append(branch.Wide, who)
			}
		}
		if effective[descriptor]&gitBypass != 0 {
			branch.Exempt = append(branch.Exempt, who)
		}
	}
}

// The types of policies that require reviewers.
const (
	typeMinimumReviewers  = "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd"
	typeRequiredReviewers = "fd2167ab-b0be-447a-8ec8-39368250530e"
)

// review adds a policy to a branch if it is enabled, blocks a merge and requires
// reviewers of a file.
func review(branch *doctor.Branch, policy any, file string) {
	reviewers := whole(policy, "settings.minimumApproverCount")
	switch approval.GUID(textIn(policy, "type.id")) {
	case typeMinimumReviewers:
	case typeRequiredReviewers:
		files, _ := in(policy, "settings.filenamePatterns").([]any)
		covered := len(files) == 0
		for _, pattern := range files {
			// The order counts. What is excluded by a pattern that may match does not count.
			text, excluded := strings.CutPrefix(textIn(pattern, ""), "!")
			text = strings.TrimPrefix(text, "/")
			switch begin, _, wild := strings.Cut(strings.ToLower(text), "*"); {
			case excluded && (strings.EqualFold(text, file) || wild && strings.HasPrefix(strings.ToLower(file), begin)):
				covered = false
			case !excluded:
				covered = covered || text == "*" || strings.EqualFold(text, file)
			}
		}
		if !covered {
			return
		}
		reviewers = max(reviewers, 1)
	default:
		return
	}
	if reviewers < 1 || !yes(policy, "isEnabled") || !yes(policy, "isBlocking") || yes(policy, "isDeleted") {
		return
	}
	branch.Reviews++
	if notNo(policy, "settings.creatorVoteCounts") {
		reviewers--
	} else {
		branch.Strict = true
	}
	branch.Others = max(branch.Others, reviewers)
}

// The permissions on repositories that count, in their security namespace: to
// contribute, and to bypass policies when pushing or completing pull requests.
// https://learn.microsoft.com/azure/devops/organizations/security/namespace-reference
const (
	gitNamespace  = "2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87"
	gitContribute = 4
	gitBypass     = 128 | 32768
)

// refToken is a branch or a tag in a security token: its segments are in hexadecimal
// UTF-16.
func refToken(kind, name string) string {
	token := "/refs/heads"
	if kind == "tag" {
		token = "/refs/tags"
	}
	for _, segment := range strings.Split(name, "/") {
		token += "/"
		for _, u := range utf16.Encode([]rune(segment)) {
			token += fmt.Sprintf("%02x%02x", byte(u), u>>8)
		}
	}
	return token
}

// holder returns who a descriptor of an access control list is, and whether that is
// everybody or what jobs run as. Names of groups are at another host, which does not
// get the job's token.
func holder(descriptor string) (name string, wide bool) {
	kind, id, _ := strings.Cut(descriptor, ";")
	switch {
	case strings.HasSuffix(kind, ".ServiceIdentity") && strings.Contains(id, ":Build:"):
		return "the build service", true
	case strings.HasSuffix(kind, ".ClaimsIdentity"):
		return id[strings.LastIndex(id, `\`)+1:], false
	case strings.HasSuffix(id, "-0-0-0-0-1"):
		return "the administrators", false
	case strings.HasSuffix(id, "-0-0-0-0-3"):
		return "all valid users", true
	}
	return "the group " + id, false
}

// pool reads the agent pool of this step's job and who may use it. Microsoft-hosted
// agents, and those of a pool that uses each for a single job, keep nothing.
//
// https://learn.microsoft.com/rest/api/azure/devops/distributedtask/queues/get-agent-queue
func (r *reading) pool() {
	id := ""
	if r.s.run.timeline != nil {
		for _, record := range r.s.run.timeline.Records {
			if approval.SameGUID(record.ID, r.s.claims.JobID) {
				id = string(record.Queue)
			}
		}
	}
	const where = "agent pool"
	if n, err := strconv.Atoi(id); err != nil || n < 1 {
		r.unread(where, "the pool of this step's job", "the run's timeline does not name its queue", "Run doctor as a step of a YAML pipeline.")
		return
	}
	document := r.read(where, "the queue "+id, r.inProject("distributedtask/queues/"+id+"?api-version=7.0"))
	if document == nil {
		return
	}
	hosted, ok := in(document, "pool.isHosted").(bool)
	if !ok {
		r.failed(where, "the queue "+id, &malformed{reason: "it does not say whose agents they are"})
		return
	}
	r.found.Pool = r.name(document, "name")
	if !hosted {
		r.found.PoolLasting = !strings.Contains(strings.ToLower(textIn(document, "pool.options")), "singleuseagents")
		r.found.PoolOpen = r.open(where+" "+r.found.Pool, "queue/"+id)
	}
}
