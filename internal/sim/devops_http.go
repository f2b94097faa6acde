package sim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// location is one REST resource as OPTIONS _apis lists it.
type location struct {
	id, area, resource, template, released string
	version                                int
}

// The templates are those of the real service, as far as its clients use them.
var (
	areasLocation = location{"e81700f7-3be2-46de-8624-2eb35882fcaa", "Location", "ResourceAreas", "_apis/{resource}/{areaId}", "0.0", 1}
	locations     = []location{
		{"0cd358e1-9217-4d94-8269-1c1ee6f93dcf", "build", "Builds", "{project}/_apis/{area}/{resource}/{buildId}", "7.1", 8},
		{"8baac422-4c6e-4de5-8532-db96d92acffa", "build", "Timeline", "{project}/_apis/{area}/builds/{buildId}/{resource}/{timelineId}", "7.1", 3},
		{"f2192269-89fa-4f94-baf6-8fb128c55159", "build", "Attachments", "{project}/_apis/{area}/builds/{buildId}/{resource}/{type}", "7.1", 2},
		{"af5122d3-3438-485e-a25a-2dbbfde84ee6", "build", "Attachments", "{project}/_apis/{area}/builds/{buildId}/{timelineId}/{recordId}/{resource}/{type}/{name}", "7.1", 2},
		{"37794717-f36f-4d78-b2bf-4dc30d0cfbcd", "approval", "approvals", "{project}/_apis/pipelines/{resource}/{approvalId}", "0.0", 2},
		{"91282c1d-c183-444f-9554-1485bfb3879d", "PipelinesChecks", "runs", "{project}/_apis/pipelines/checks/{resource}/{checkSuiteId}", "0.0", 1},
		{"86c8381e-5aee-4cde-8ae4-25c0c7f5eaea", "PipelinesChecks", "configurations", "{project}/_apis/pipelines/checks/{resource}/{id}", "0.0", 1},
		{"8572b1fc-2482-47fa-8f74-7e3ed53ee54b", "environments", "environments", "{project}/_apis/distributedtask/{resource}/{environmentId}", "0.0", 1},
		{"900fa995-c559-4923-aae7-f8424fe4fbea", "distributedtask", "queues", "{project}/_apis/{area}/{resource}/{queueId}", "0.0", 1},
		{"b5b9a4a4-e6cd-4096-853c-ab7d8b0c4eb2", "pipelinePermissions", "pipelinePermissions", "{project}/_apis/pipelines/{resource}/{resourceType}/{resourceId}", "0.0", 1},
		{"9461c234-c84c-4ed2-b918-2f0f92ad0a35", "securityroles", "roleassignments", "_apis/{area}/scopes/{scopeId}/{resource}/resources/{resourceId}/{identityId}", "0.0", 1},
		{"18a2ad18-7571-46ae-bec7-0c7da1495885", "Security", "AccessControlLists", "_apis/{resource}/{securityNamespaceId}", "7.1", 1},
		{"2c420070-a0a2-49cc-9639-c9f271c5ff07", "git", "configurations", "{project}/_apis/{area}/policy/{resource}", "7.1", 1},
		{"225f7195-f9c7-4d14-ab28-a83f7ff77e1f", "git", "repositories", "{project}/_apis/{area}/{resource}/{repositoryId}", "7.1", 1},
		{"fb93c0db-47ed-4a31-8c20-47552878fb44", "git", "items", "{project}/_apis/{area}/repositories/{repositoryId}/{resource}/{*path}", "7.1", 1},
		{"e85f1c62-adfc-4b74-b618-11a150fb195e", "serviceendpoint", "endpoints", "{project}/_apis/{area}/{resource}/{endpointId}", "7.1", 4},
	}
	releaseLocations = []location{
		{"a166fde7-27ad-408e-ba75-703c2cc9d500", "Release", "releases", "{project}/_apis/{area}/{resource}/{releaseId}", "7.1", 9},
	}
	areas = []struct{ id, name string }{
		{"965220d5-5bb9-42cf-8d67-9b146df2a5a4", "build"},
		{"4e080c62-fa21-4fbc-8fef-2a10a2b38049", "git"},
		{"5b55a9b6-2e0f-40d7-829d-3741d2b8c4e4", "approval"},
		{"4a933897-0488-45af-bd82-6fd3ad33f46a", "PipelinesChecks"},
		{"a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd", "distributedtask"},
		{"1814ab31-2f4f-4a9f-8761-f4d77dc5a5d7", "serviceendpoint"},
		{"efc2f575-36ef-48e9-b672-0c6fb4a48ac5", "Release"},
	}
)

func (o *Organization) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	interceptors := o.interceptors
	o.mu.Unlock()
	for _, answer := range interceptors {
		if answer(w, r) {
			return
		}
	}
	w.Header().Set("X-VSS-E2EID", guidOf(r.URL.Path))
	token := o.authenticate(w, r)
	if token == nil {
		return
	}
	rest, core, releases := o.place(r)
	rest = strings.TrimSuffix(rest, "/")
	switch {
	case r.Method == http.MethodOptions && strings.EqualFold(rest, "/_apis"):
		o.listLocations(w, core, releases)
		return
	case r.Method == http.MethodGet && strings.EqualFold(rest, "/_apis/ResourceAreas"):
		o.listAreas(w)
		return
	}
	if r.Method == http.MethodGet && core {
		whole := strings.Split(strings.Trim(rest, "/"), "/")
		named := func(at int, name string) bool { return strings.EqualFold(whole[at], name) }
		switch {
		case len(whole) == 7 && named(0, "_apis") && named(1, "securityroles") && named(2, "scopes") && named(4, "roleassignments") && named(5, "resources"):
			if noPreview(w, r) {
				return
			}
			o.serveRoles(w, token, whole[3], whole[6])
			return
		case len(whole) == 3 && named(0, "_apis") && named(1, "accesscontrollists"):
			o.serveACLs(w, token, whole[2], r.URL.Query())
			return
		}
	}
	name, rest := cutSegment(rest)
	path := strings.Split(strings.ToLower(strings.TrimPrefix(rest, "/_apis/")), "/")
	o.mu.Lock()
	project := o.project(name)
	o.mu.Unlock()
	if project == nil || !token.sees(project) {
		noProject(w, name)
		return
	}
	match := func(method string, pattern ...string) bool {
		if r.Method != method || len(pattern) != len(path) || !strings.HasPrefix(rest, "/_apis/") {
			return false
		}
		for i, p := range pattern {
			if p != "*" && p != path[i] {
				return false
			}
		}
		return true
	}
	if plan, ok := planPath(rest); ok && core {
		token.servePlan(w, r, plan)
		return
	}
	query := r.URL.Query()
	switch {
	case releases && match("GET", "release", "releases", "*"):
		project.serveRelease(w, path[2])
	case !core:
		noSuchController(w, rest)
	case match("GET", "build", "builds", "*"):
		project.serveBuild(w, path[2])
	case match("GET", "build", "builds", "*", "timeline"):
		project.serveTimeline(w, path[2], "")
	case match("GET", "build", "builds", "*", "timeline", "*"):
		project.serveTimeline(w, path[2], path[4])
	case match("GET", "build", "builds", "*", "attachments", "*"):
		project.serveAttachments(w, path[2], path[4])
	case match("GET", "build", "builds", "*", "*", "*", "attachments", "*", "*"):
		segments := strings.Split(rest, "/")
		project.serveAttachment(w, path[2], path[4], path[6], segments[len(segments)-1])
	case match("GET", "pipelines", "approvals"):
		project.serveApprovals(w, split(query.Get("approvalIds")), expands(query.Get("$expand"), "steps"), apiVersion(r) >= "7.2")
	case match("GET", "pipelines", "approvals", "*"):
		project.serveApproval(w, path[2], expands(query.Get("$expand"), "steps"), apiVersion(r) >= "7.2")
	case match("GET", "pipelines", "checks", "runs", "*"):
		project.serveSuite(w, path[3], expands(query.Get("$expand"), "resources"))
	case match("GET", "pipelines", "checks", "configurations"):
		project.serveConfigurations(w, token, query.Get("resourceType"), query.Get("resourceId"), expands(query.Get("$expand"), "settings"))
	case match("GET", "pipelines", "checks", "configurations", "*"):
		project.serveConfiguration(w, path[3], expands(query.Get("$expand"), "settings"))
	case match("GET", "pipelines", "pipelinepermissions", "*", "*"):
		if noPreview(w, r) {
			return
		}
		project.servePipelinePermissions(w, path[2], path[3])
	case match("GET", "distributedtask", "queues", "*"):
		project.serveQueue(w, path[2])
	case match("GET", "git", "policy", "configurations"):
		project.servePolicies(w, query)
	case match("GET", "git", "repositories", "*"):
		project.serveRepository(w, path[2])
	case match("GET", "git", "repositories", "*", "items"):
		project.serveItem(w, path[2], query)
	case match("GET", "distributedtask", "environments"):
		project.serveEnvironments(w, query.Get("name"))
	case match("GET", "serviceendpoint", "endpoints"):
		project.serveEndpoints(w, token, split(query.Get("endpointNames")), split(query.Get("endpointIds")))
	case match("POST", "build", "retention", "leases"):
		project.addLeases(w, r)
	case match("POST", "distributedtask", "hubs", "*", "plans", "*", "jobs", "*", "oidctoken"):
		token.serveOIDC(w, path[2], path[4], path[6], query.Get("serviceConnectionId"))
	default:
		noSuchController(w, rest)
	}
}

// noPreview refuses a request for an API under preview whose version does not say so.
func noPreview(w http.ResponseWriter, r *http.Request) bool {
	version := apiVersion(r)
	if strings.Contains(version, "-preview") {
		return false
	}
	restRefusal{http.StatusBadRequest, "The requested version \"" + version + "\" of the resource is under preview. The -preview flag must be supplied in the api-version for such requests. For example: \"" + version + "-preview\"",
		"Microsoft.VisualStudio.Services.WebApi.VssInvalidPreviewVersionException", 3000}.write(w)
	return true
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func expands(list, what string) bool {
	return slices.ContainsFunc(split(list), func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), what) })
}

// apiVersion is what the client asks for, in the query or the Accept header.
func apiVersion(r *http.Request) string {
	if v := r.URL.Query().Get("api-version"); v != "" {
		return v
	}
	_, v, _ := strings.Cut(r.Header.Get("Accept"), "api-version=")
	return v
}

// authenticate finds the job whose token came along, or answers as the service
// answers strangers: 401 for those who ask not to be redirected and for a wrong
// bearer token, a sign-in page for a wrong personal access token, else a
// redirect to the sign-in page.
func (o *Organization) authenticate(w http.ResponseWriter, r *http.Request) *jobToken {
	authorization := r.Header.Get("Authorization")
	if value, ok := strings.CutPrefix(authorization, "Bearer "); ok {
		o.mu.Lock()
		token := o.tokens[value]
		o.mu.Unlock()
		if token != nil {
			return token
		}
	} else if token := o.person(r); token != nil {
		return token
	}
	const page = "<!DOCTYPE html>\r\n<html lang=\"en-US\"><head><title>Azure DevOps Services | Sign In</title></head><body><h2>Sign in</h2></body></html>\r\n"
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	suppressed := strings.EqualFold(r.Header.Get("X-TFS-FedAuthRedirect"), "Suppress")
	switch {
	case strings.HasPrefix(authorization, "Basic "):
		w.WriteHeader(http.StatusNonAuthoritativeInfo)
	case authorization == "" && !suppressed:
		w.Header().Set("Location", "https://spsprodeus1.vssps.visualstudio.com/_signin?realm=dev.azure.com&reply_to="+r.URL.EscapedPath())
		w.WriteHeader(http.StatusFound)
	default:
		w.Header().Add("WWW-Authenticate", "Bearer authorization_uri=https://login.microsoftonline.com/"+o.id)
		w.Header().Add("WWW-Authenticate", `Basic realm="https://dev.azure.com/"`)
		w.Header().Add("WWW-Authenticate", "TFS-Federated")
		w.WriteHeader(http.StatusUnauthorized)
	}
	w.Write([]byte(page))
	return nil
}

func (o *Organization) listLocations(w http.ResponseWriter, core, releases bool) {
	list := []location{areasLocation}
	if core {
		list = append(list, locations...)
	}
	if releases {
		list = append(list, releaseLocations...)
	}
	value := []any{}
	for _, l := range list {
		value = append(value, map[string]any{
			"id": l.id, "area": l.area, "resourceName": l.resource, "routeTemplate": l.template,
			"resourceVersion": l.version, "minVersion": "1.0", "maxVersion": "7.2", "releasedVersion": l.released,
		})
	}
	o.verify("[]Location", map[string]any{"count": len(value), "value": value})
	writeList(w, value)
}

func (o *Organization) listAreas(w http.ResponseWriter) {
	value := []any{}
	for _, a := range areas {
		if o.server != "" {
			break // its one address serves every area
		}
		url := o.Collection()
		if a.name == "Release" {
			url = o.releases()
		}
		value = append(value, map[string]any{"id": a.id, "name": a.name, "locationUrl": url})
	}
	o.verify("[]Area", map[string]any{"count": len(value), "value": value})
	writeList(w, value)
}

func writeList(w http.ResponseWriter, value []any) {
	writeJSON(w, http.StatusOK, map[string]any{"count": len(value), "value": value})
}

// restRefusal is an error as Azure DevOps tells it.
type restRefusal struct {
	status  int
	message string
	kind    string // full name of the exception
	event   int
}

func (e restRefusal) write(w http.ResponseWriter) {
	key := e.kind[strings.LastIndex(e.kind, ".")+1:]
	assembly := e.kind[:strings.LastIndex(e.kind, ".")]
	writeJSON(w, e.status, map[string]any{
		"$id": "1", "innerException": nil, "message": e.message, "typeName": e.kind + ", " + assembly,
		"typeKey": key, "errorCode": 0, "eventId": e.event,
	})
}

func noSuchController(w http.ResponseWriter, path string) {
	restRefusal{http.StatusNotFound, "The controller for path '" + path + "' was not found or does not implement IController.",
		"Microsoft.TeamFoundation.Framework.Server.HttpException", 0}.write(w)
}

// refuse answers 403 where the kind of documents is denied.
func (p *Project) refuse(w http.ResponseWriter, kind string) bool {
	p.org.mu.Lock()
	denied := p.denied[kind]
	p.org.mu.Unlock()
	if denied {
		p.forbid(w)
	}
	return denied
}

func (p *Project) forbid(w http.ResponseWriter) {
	restRefusal{http.StatusForbidden, "TF400813: The user '" + p.buildService() + "' is not authorized to access this resource.",
		"Microsoft.TeamFoundation.Framework.Server.UnauthorizedRequestException", 3000}.write(w)
}

// send lets the hooks at the document and sends it. The hooks see it as JSON
// decodes it, and run unlocked: they may change the model.
func send(w http.ResponseWriter, doc map[string]any, hooks []func(map[string]any)) {
	if len(hooks) == 0 {
		writeJSON(w, http.StatusOK, doc)
		return
	}
	b, err := json.Marshal(doc)
	var decoded map[string]any
	if err == nil {
		err = json.Unmarshal(b, &decoded)
	}
	if err != nil {
		panic(fmt.Sprintf("sim: document: %v", err))
	}
	for _, hook := range hooks {
		hook(decoded)
	}
	writeJSON(w, http.StatusOK, decoded)
}

// locked builds a document, and collects the hooks to run on it, under the
// organisation's lock. A nil document means that there is no such thing.
func (p *Project) locked(build func() (map[string]any, []func(map[string]any))) (map[string]any, []func(map[string]any)) {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	doc, hooks := build()
	return doc, slices.Clone(hooks)
}

// run finds by build id. Callers hold mu.
func (p *Project) run(id string) *Run {
	n, err := strconv.Atoi(id)
	if err != nil {
		return nil
	}
	for _, r := range p.runs {
		if r.id == n {
			return r
		}
	}
	return nil
}

func (p *Project) serveBuild(w http.ResponseWriter, id string) {
	if p.refuse(w, Builds) {
		return
	}
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		if r := p.run(id); r != nil {
			return r.build(), r.hooks[Builds]
		}
		return nil, nil
	})
	if doc == nil {
		noBuild(w, id)
		return
	}
	p.org.verify("Build", doc)
	send(w, doc, hooks)
}

func noBuild(w http.ResponseWriter, id string) {
	restRefusal{http.StatusNotFound, "The requested build " + id + " could not be found.",
		"Microsoft.TeamFoundation.Build.WebApi.BuildNotFoundException", 3000}.write(w)
}

func (p *Project) serveTimeline(w http.ResponseWriter, id, timeline string) {
	if p.refuse(w, Builds) {
		return
	}
	found := false
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		r := p.run(id)
		if r == nil {
			return nil, nil
		}
		found = true
		return r.timeline(timeline), r.hooks["timeline"]
	})
	switch {
	case !found:
		noBuild(w, id)
	case doc == nil:
		// An unknown timeline is no error to the service.
		w.WriteHeader(http.StatusNoContent)
	default:
		p.org.verify("Timeline", doc)
		send(w, doc, hooks)
	}
}

// approvals lists every approval of the project, oldest run first. Callers
// hold mu.
func (p *Project) approvals() []*Approval {
	var all []*Approval
	for _, r := range p.runs {
		for _, s := range r.stages {
			for _, a := range s.attempts {
				all = append(all, a.approvals()...)
			}
		}
	}
	return all
}

func (p *Project) serveApprovals(w http.ResponseWriter, ids []string, steps, owner bool) {
	if p.refuse(w, Approvals) {
		return
	}
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		value := []any{}
		var hooks []func(map[string]any)
		seen := map[*Run]bool{}
		for _, a := range p.approvals() {
			if wanted := slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, a.id) }); !wanted && (len(ids) > 0 || !a.open()) {
				continue
			}
			value = append(value, a.document(steps, owner))
			if r := a.stage.run; !seen[r] {
				seen[r] = true
				hooks = append(hooks, r.hooks[Approvals]...)
			}
		}
		return map[string]any{"count": len(value), "value": value}, hooks
	})
	p.org.verify("[]Approval", doc)
	send(w, doc, hooks)
}

func (p *Project) serveApproval(w http.ResponseWriter, id string, steps, owner bool) {
	if p.refuse(w, Approvals) {
		return
	}
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		for _, a := range p.approvals() {
			if strings.EqualFold(a.id, id) {
				return a.document(steps, owner), nil
			}
		}
		return nil, nil
	})
	if doc == nil {
		restRefusal{http.StatusNotFound, "The approval with id " + id + " does not exist.",
			"Microsoft.Azure.Pipelines.Approval.WebApi.ApprovalNotFoundException", 3000}.write(w)
		return
	}
	p.org.verify("Approval", doc)
	send(w, doc, nil)
}

func (p *Project) serveSuite(w http.ResponseWriter, id string, resources bool) {
	if p.refuse(w, CheckSuites) {
		return
	}
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		for _, r := range p.runs {
			for _, s := range r.stages {
				for _, a := range s.attempts {
					if strings.EqualFold(a.checkpointID, id) {
						return s.suite(a, resources), r.hooks[CheckSuites]
					}
				}
			}
		}
		return nil, nil
	})
	if doc == nil {
		restRefusal{http.StatusNotFound, "The check suite with id " + id + " does not exist.",
			"Microsoft.Azure.Pipelines.Checks.WebApi.CheckSuiteDoesNotExistException", 3000}.write(w)
		return
	}
	p.org.verify("CheckSuite", doc)
	send(w, doc, hooks)
}

func (p *Project) serveConfigurations(w http.ResponseWriter, token *jobToken, kind, id string, settings bool) {
	if p.refuse(w, Configurations) {
		return
	}
	hidden := false
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		value := []any{}
		for _, r := range p.resources {
			if !strings.EqualFold(r.kind, kind) || !strings.EqualFold(r.id, id) {
				continue
			}
			hidden = r.hidden
			for _, c := range r.checks {
				if !c.deleted {
					value = append(value, c.configuration(settings))
				}
			}
		}
		var hooks []func(map[string]any)
		if token.run != nil {
			hooks = token.run.hooks[Configurations]
		}
		return map[string]any{"count": len(value), "value": value}, hooks
	})
	if hidden {
		p.forbid(w)
		return
	}
	p.org.verify("[]CheckConfiguration", doc)
	send(w, doc, hooks)
}

func (p *Project) serveConfiguration(w http.ResponseWriter, id string, settings bool) {
	if p.refuse(w, Configurations) {
		return
	}
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		for _, r := range p.resources {
			for _, c := range r.checks {
				if !c.deleted && strconv.Itoa(c.id) == id {
					return c.configuration(settings), nil
				}
			}
		}
		return nil, nil
	})
	if doc == nil {
		restRefusal{http.StatusNotFound, "Check configuration with id " + id + " does not exist.",
			"Microsoft.Azure.Pipelines.Checks.WebApi.CheckConfigurationNotFoundException", 3000}.write(w)
		return
	}
	p.org.verify("CheckConfiguration", doc)
	send(w, doc, nil)
}

func (p *Project) serveEnvironments(w http.ResponseWriter, name string) {
	if p.refuse(w, Environments) {
		return
	}
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		value := []any{}
		for _, r := range p.resources {
			// Whether the filter wants the whole name is not documented.
			named := strings.Contains(strings.ToLower(r.name), strings.ToLower(name))
			if e := p.environment[strings.ToLower(r.name)]; r.kind == "environment" && named && !r.hidden {
				value = append(value, e.document())
			}
		}
		return map[string]any{"count": len(value), "value": value}, nil
	})
	send(w, doc, nil)
}

// serveEndpoints lists connections. One that the job's identity may not view is left
// out, as if it did not exist.
func (p *Project) serveEndpoints(w http.ResponseWriter, token *jobToken, names, ids []string) {
	if p.refuse(w, Endpoints) {
		return
	}
	doc, hooks := p.locked(func() (map[string]any, []func(map[string]any)) {
		value := []any{}
		for _, r := range p.resources {
			equal := func(s string) func(string) bool { return func(t string) bool { return strings.EqualFold(s, t) } }
			wanted := len(names)+len(ids) == 0 || slices.ContainsFunc(names, equal(r.name)) || slices.ContainsFunc(ids, equal(r.id))
			if s := p.connection[strings.ToLower(r.name)]; r.kind == "endpoint" && wanted && (token.personal || !r.hidden) {
				value = append(value, s.document())
			}
		}
		var hooks []func(map[string]any)
		if token.run != nil {
			hooks = token.run.hooks[Endpoints]
		}
		return map[string]any{"count": len(value), "value": value}, hooks
	})
	p.org.verify("[]ServiceEndpoint", doc)
	send(w, doc, hooks)
}
