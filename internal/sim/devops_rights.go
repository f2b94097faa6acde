package sim

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// OpenToAll lets every pipeline of the project use the resource, or only those that
// Permit named.
func (r *protected) OpenToAll(open bool) {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	r.open = open
}

// Permit lets a pipeline of the project use the resource.
func (r *protected) Permit(pipeline string) {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	r.permitted = append(r.permitted, r.project.pipeline(pipeline))
}

// servePipelinePermissions reports which pipelines may use a resource. Where not all
// may, the field allPipelines is absent.
//
// https://learn.microsoft.com/rest/api/azure/devops/approvalsandchecks/pipeline-permissions/get
func (p *Project) servePipelinePermissions(w http.ResponseWriter, kind, id string) {
	if p.refuse(w, PipelinePermissions) {
		return
	}
	hidden := false
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		r := p.resource(kind, id)
		if r == nil {
			return nil, nil
		}
		hidden = r.hidden
		by := p.org.ref(Person("Project Administrator"))
		permission := func() map[string]any {
			return map[string]any{"authorized": true, "authorizedBy": by, "authorizedOn": "2026-01-12T09:41:07.2133333Z"}
		}
		pipelines := []any{}
		for _, definition := range r.permitted {
			permitted := permission()
			permitted["id"] = definition
			pipelines = append(pipelines, permitted)
		}
		doc := map[string]any{"resource": map[string]any{"type": r.kind, "id": r.id}, "pipelines": pipelines}
		if r.open {
			doc["allPipelines"] = permission()
		}
		return doc, nil
	})
	switch {
	case hidden:
		p.forbid(w)
	case doc == nil:
		restRefusal{http.StatusNotFound, "The resource " + kind + " " + id + " does not exist.",
			"Microsoft.Azure.Pipelines.Authorization.WebApi.ResourceNotFoundException", 3000}.write(w)
	default:
		p.org.verify("ResourcePipelinePermissions", doc)
		send(w, doc, nil)
	}
}

// resource finds a resource by its type and ID. Callers hold mu.
func (p *Project) resource(kind, id string) *protected {
	for _, r := range p.resources {
		if strings.EqualFold(r.kind, kind) && strings.EqualFold(r.id, id) {
			return r
		}
	}
	return nil
}

// The roles of environments.
const (
	Administrator = "Administrator"
	User          = "User"
	Reader        = "Reader"
)

// roleAssignment is the role of somebody on a resource.
type roleAssignment struct {
	who       Identity
	role      string
	inherited bool
}

// SetRole gives somebody a role on the resource; "" takes it.
func (r *protected) SetRole(who Identity, role string) {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	r.roles = slices.DeleteFunc(r.roles, func(a roleAssignment) bool { return a.who.ID == who.ID })
	if role != "" {
		r.roles = append(r.roles, roleAssignment{who: who, role: role})
	}
}

// roleScopes has the types of resources by the scopes of their roles.
var roleScopes = map[string]string{
	"distributedtask.environmentreferencerole": "environment",
	"distributedtask.serviceendpointrole":      "endpoint",
}

// serveRoles lists the roles on a resource, which is named PROJECT_ID. An identity has
// neither a descriptor nor a kind there, and a group its display name as unique name.
//
// https://learn.microsoft.com/rest/api/azure/devops/securityroles/roleassignments/list
func (o *Organization) serveRoles(w http.ResponseWriter, token *jobToken, scope, resource string) {
	projectID, id, _ := strings.Cut(resource, "_")
	o.mu.Lock()
	p := o.project(projectID)
	kind, known := roleScopes[strings.ToLower(scope)]
	o.mu.Unlock()
	switch {
	case !known:
		restRefusal{http.StatusNotFound, "The scope " + scope + " does not exist.", "Microsoft.VisualStudio.Services.SecurityRoles.WebApi.ScopeNotFoundException", 3000}.write(w)
		return
	case p == nil || !token.sees(p):
		noProject(w, projectID)
		return
	case p.refuse(w, Roles):
		return
	}
	hidden := false
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		r := p.resource(kind, id)
		if r == nil {
			return nil, nil
		}
		hidden = r.hidden
		value := []any{}
		for _, a := range r.roles {
			access := "assigned"
			if a.inherited {
				access = "inherited"
			}
			unique := a.who.UniqueName
			if a.who.Group {
				unique = a.who.DisplayName
			}
			value = append(value, map[string]any{
				"identity": map[string]any{"displayName": a.who.DisplayName, "id": a.who.ID, "uniqueName": unique},
				"role": map[string]any{"name": a.role, "displayName": a.role, "identifier": scope + "." + a.role, "scope": scope,
					"description": "", "allowPermissions": 27, "denyPermissions": 0},
				"access": access, "accessDisplayName": strings.ToUpper(access[:1]) + access[1:],
			})
		}
		return map[string]any{"count": len(value), "value": value}, nil
	})
	switch {
	case hidden:
		p.forbid(w)
	case doc == nil:
		restRefusal{http.StatusNotFound, "The resource " + resource + " does not exist.", "Microsoft.VisualStudio.Services.SecurityRoles.WebApi.ResourceNotFoundException", 3000}.write(w)
	default:
		o.verify("[]RoleAssignment", doc)
		send(w, doc, nil)
	}
}

// Queue is a project's access to an agent pool.
type Queue struct {
	*protected
	number  int
	pool    string
	hosted  bool
	options string
}

// The options of an agent pool, as responses have them.
const (
	LastingAgents   = "none"
	SingleUseAgents = "elasticPool, singleUseAgents"
)

// Queue opens the project's access to a pool of self-hosted agents. Asked again for
// the same pool, it returns the same one.
func (p *Project) Queue(pool, options string) *Queue {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	return p.queue(p.org.next("queue"), pool, false, options)
}

// queue opens a queue. Callers hold mu.
func (p *Project) queue(number int, pool string, hosted bool, options string) *Queue {
	for _, q := range p.queues {
		if q.pool == pool {
			return q
		}
	}
	q := &Queue{protected: &protected{project: p, kind: "queue", id: strconv.Itoa(number), name: pool, open: hosted},
		number: number, pool: pool, hosted: hosted, options: options}
	p.queues = append(p.queues, q)
	p.resources = append(p.resources, q.protected)
	return q
}

// hosted is the queue of Microsoft-hosted agents, which every project has, open to all
// its pipelines. Callers hold mu.
func (p *Project) hosted() *Queue { return p.queue(9, "Azure Pipelines", true, "none") }

// document is the queue as distributedtask/queues tells it.
func (q *Queue) document() map[string]any {
	return map[string]any{"id": q.number, "name": q.name, "projectId": q.project.id, "pool": map[string]any{
		"id": q.number - 1, "scope": q.project.org.id, "name": q.pool, "isHosted": q.hosted, "isLegacy": false,
		"poolType": "automation", "size": 3, "options": q.options}}
}

// serveQueue answers for one queue. Of one that the job's identity may not view, the
// service says that it does not exist.
//
// https://learn.microsoft.com/rest/api/azure/devops/distributedtask/queues/get-agent-queue
func (p *Project) serveQueue(w http.ResponseWriter, id string) {
	if p.refuse(w, Queues) {
		return
	}
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		for _, q := range p.queues {
			if q.id == id && !q.hidden {
				return q.document(), nil
			}
		}
		return nil, nil
	})
	if doc == nil {
		restRefusal{http.StatusNotFound, "No agent queue found with identifier " + id + ".",
			"Microsoft.TeamFoundation.DistributedTask.WebApi.TaskAgentQueueNotFoundException", 3000}.write(w)
		return
	}
	p.org.verify("TaskAgentQueue", doc)
	send(w, doc, nil)
}

// BranchPolicy requires reviews before something is merged into a branch.
type BranchPolicy struct {
	Branch            string // a full ref; "" is the whole repository, a slash at its end a folder
	Minimum           int
	CreatorVoteCounts bool
	Optional          bool
	Disabled          bool
	Deleted           bool
	// Reviewers, if not empty, makes it a policy of required reviewers, for the files
	// that Files lists; all files if it is empty.
	Reviewers []Identity
	Files     []string

	id int
}

// AddPolicy adds a policy, which the test may change afterwards.
func (r *Repository) AddPolicy(b BranchPolicy) *BranchPolicy {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	b.id = o.next("policy")
	r.policies = append(r.policies, &b)
	return &b
}

func (b *BranchPolicy) covers(ref string) bool {
	return b.Branch == "" || ref == "" || strings.EqualFold(b.Branch, ref) ||
		strings.HasSuffix(b.Branch, "/") && strings.HasPrefix(ref, b.Branch)
}

// document is the policy as git/policy/configurations tells it.
func (b *BranchPolicy) document(r *Repository) map[string]any {
	p := r.project
	scope := map[string]any{"repositoryId": r.id}
	if b.Branch != "" {
		scope["refName"], scope["matchKind"] = b.Branch, "Exact"
		if strings.HasSuffix(b.Branch, "/") {
			scope["matchKind"] = "Prefix"
		}
	}
	settings := map[string]any{"minimumApproverCount": b.Minimum, "creatorVoteCounts": b.CreatorVoteCounts, "scope": []any{scope}}
	kind, name := "fa4e907d-c16b-4a4c-9dfa-4906e5d171dd", "Minimum number of reviewers"
	if len(b.Reviewers) > 0 {
		kind, name = "fd2167ab-b0be-447a-8ec8-39368250530e", "Required reviewers"
		ids := []any{}
		for _, reviewer := range b.Reviewers {
			ids = append(ids, reviewer.ID)
		}
		settings["requiredReviewerIds"], settings["addedFilesOnly"], settings["message"] = ids, false, nil
		if len(b.Files) > 0 {
			settings["filenamePatterns"] = b.Files
		}
	} else {
		settings["allowDownvotes"], settings["resetOnSourcePush"] = false, true
	}
	url := fmt.Sprintf("%s/_apis/policy/configurations/%d", p.url(), b.id)
	return map[string]any{
		"createdBy": p.org.ref(Person("Project Administrator")), "createdDate": "2026-01-12T09:41:07.2133333Z",
		"isEnabled": !b.Disabled, "isBlocking": !b.Optional, "isDeleted": b.Deleted, "isEnterpriseManaged": false, "settings": settings,
		"_links": map[string]any{"self": map[string]any{"href": url}}, "revision": 1, "id": b.id, "url": url,
		"type": map[string]any{"id": kind, "displayName": name, "url": p.url() + "/_apis/policy/types/" + kind},
	}
}

// servePolicies lists the policies of a branch, 100 at a time unless $top is given;
// the header x-ms-continuationtoken shows that there are more.
//
// https://learn.microsoft.com/rest/api/azure/devops/git/policy-configurations/get
func (p *Project) servePolicies(w http.ResponseWriter, query url.Values) {
	if p.refuse(w, Policies) || p.refuseRepository(w) {
		return
	}
	top, _ := strconv.Atoi(cmp.Or(query.Get("$top"), "100"))
	first, _ := strconv.Atoi(query.Get("continuationToken"))
	next := 0
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		value := []any{}
		for _, r := range p.repositories {
			if id := query.Get("repositoryId"); id != "" && !strings.EqualFold(id, r.id) {
				continue
			}
			for _, b := range r.policies {
				if b.Deleted || b.id < first || !b.covers(query.Get("refName")) {
					continue
				}
				if len(value) == top {
					next = b.id
					break
				}
				value = append(value, b.document(r))
			}
		}
		return map[string]any{"count": len(value), "value": value}, nil
	})
	if next > 0 {
		w.Header().Set("x-ms-continuationtoken", strconv.Itoa(next))
	}
	p.org.verify("[]PolicyConfiguration", doc)
	send(w, doc, nil)
}

// serveRepository answers for one repository.
//
// https://learn.microsoft.com/rest/api/azure/devops/git/repositories/get-repository
func (p *Project) serveRepository(w http.ResponseWriter, nameOrID string) {
	if p.refuseRepository(w) {
		return
	}
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		r := p.repository(nameOrID)
		if r == nil {
			return nil, nil
		}
		web := p.org.Collection() + url.PathEscape(p.name) + "/_git/" + url.PathEscape(r.name)
		return map[string]any{"id": r.id, "name": r.name, "url": p.url() + "/_apis/git/repositories/" + r.id, "project": p.ref(),
			"defaultBranch": "refs/heads/main", "size": 4711, "remoteUrl": web, "webUrl": web, "sshUrl": "", "isDisabled": false, "isInMaintenance": false}, nil
	})
	if doc == nil {
		noRepository(w, nameOrID)
		return
	}
	p.org.verify("GitRepository", doc)
	send(w, doc, nil)
}

func noRepository(w http.ResponseWriter, nameOrID string) {
	restRefusal{http.StatusNotFound, "TF401019: The Git repository with name or identifier " + nameOrID + " does not exist or you do not have permissions for the operation you are attempting.",
		"Microsoft.TeamFoundation.Git.Server.GitRepositoryNotFoundException", 3000}.write(w)
}

// The permissions of the security namespace of Git repositories.
const (
	GitContribute         = 4
	GitForcePush          = 8
	GitPolicyExempt       = 128
	GitBypassPullRequests = 32768
)

// gitNamespace is the security namespace of Git repositories.
const gitNamespace = "2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87"

// ace is one entry of an access control list.
type ace struct {
	who         Identity
	allow, deny int
}

// Allow gives somebody permissions on the repository, on a branch of it (a full ref),
// or, with the ref "*", on all repositories of the project.
func (r *Repository) Allow(ref string, who Identity, permissions int) {
	r.grant(ref, ace{who, permissions, 0})
}

// Deny denies somebody permissions there.
func (r *Repository) Deny(ref string, who Identity, permissions int) {
	r.grant(ref, ace{who, 0, permissions})
}

func (r *Repository) grant(ref string, entry ace) {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	token := r.token(ref)
	r.project.acls[token] = append(r.project.acls[token], entry)
}

// token is the security token of a branch, of the repository or of the project. A
// branch's segments are in hexadecimal UTF-16.
func (r *Repository) token(ref string) string {
	if ref == "*" {
		return "repoV2/" + r.project.id
	}
	token := "repoV2/" + r.project.id + "/" + r.id
	if ref == "" {
		return token
	}
	token += "/refs/heads"
	for _, segment := range strings.Split(strings.TrimPrefix(ref, "refs/heads/"), "/") {
		token += "/"
		for _, u := range utf16.Encode([]rune(segment)) {
			token += fmt.Sprintf("%02x%02x", byte(u), byte(u>>8))
		}
	}
	return token
}

// ListOnlyExplicitEntries makes access control lists leave out what is inherited:
// whether they have it is not documented.
func (o *Organization) ListOnlyExplicitEntries() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.explicitOnly = true
}

// aclDescriptor is an identity as access control lists name it, which is not the
// descriptor of other documents.
func (p *Project) aclDescriptor(i Identity) string {
	scope := fmt.Sprintf("Microsoft.TeamFoundation.Identity;S-1-9-1551374245-%d", crc(p.id))
	switch {
	case strings.HasSuffix(i.DisplayName, `\Project Administrators`):
		return scope + "-0-0-0-0-1"
	case strings.HasSuffix(i.DisplayName, `\Project Valid Users`):
		return scope + "-0-0-0-0-3"
	case i.Group:
		return fmt.Sprintf("%s-1-%d", scope, crc(i.ID))
	case strings.HasPrefix(i.Descriptor, "svc."):
		return "Microsoft.TeamFoundation.ServiceIdentity;" + guidOf("service") + ":Build:" + p.id
	}
	return "Microsoft.IdentityModel.Claims.ClaimsIdentity;" + guidOf("tenant") + `\` + i.UniqueName
}

func crc(text string) int {
	n, _ := strconv.ParseInt(guidOf(text)[:7], 16, 64)
	return int(n)
}

// serveACLs lists the access control list of one token, with what is inherited if the
// extended information is asked for.
//
// https://learn.microsoft.com/rest/api/azure/devops/security/access-control-lists/query
func (o *Organization) serveACLs(w http.ResponseWriter, caller *jobToken, namespace string, query url.Values) {
	if !strings.EqualFold(namespace, gitNamespace) {
		restRefusal{http.StatusNotFound, "TF50605: There is no registered security namespace " + namespace + ".",
			"Microsoft.TeamFoundation.Framework.Server.InvalidSecurityNamespaceException", 3000}.write(w)
		return
	}
	token := strings.TrimSuffix(query.Get("token"), "/")
	parts := strings.Split(token, "/")
	if len(parts) < 2 || !strings.EqualFold(parts[0], "repoV2") {
		http.Error(w, "no token of a repository", http.StatusBadRequest)
		return
	}
	o.mu.Lock()
	p := o.project(parts[1])
	o.mu.Unlock()
	switch {
	case p == nil || !caller.sees(p):
		noProject(w, parts[1])
		return
	case p.refuse(w, AccessLists) || p.refuseRepository(w):
		return
	}
	extended := strings.EqualFold(query.Get("includeExtendedInfo"), "true")
	doc, _ := p.locked(func() (map[string]any, []func(map[string]any)) {
		entries := map[string]any{}
		inherited := map[string]ace{}
		for n := 2; n <= len(parts); n++ {
			level := strings.Join(parts[:n], "/")
			last := n == len(parts)
			for _, e := range p.acls[level] {
				descriptor := p.aclDescriptor(e.who)
				up := inherited[descriptor]
				allow, deny := up.allow&^e.deny|e.allow, up.deny&^e.allow|e.deny
				if last {
					entry := map[string]any{"descriptor": descriptor, "allow": e.allow, "deny": e.deny}
					if extended {
						entry["extendedInfo"] = information(allow, deny, up)
					}
					entries[descriptor] = entry
				} else {
					inherited[descriptor] = ace{e.who, allow, deny}
				}
			}
		}
		for descriptor, up := range inherited {
			if entries[descriptor] == nil && extended && !o.explicitOnly {
				entries[descriptor] = map[string]any{"descriptor": descriptor, "allow": 0, "deny": 0, "extendedInfo": information(up.allow, up.deny, up)}
			}
		}
		value := []any{}
		if len(entries) > 0 {
			value = append(value, map[string]any{"inheritPermissions": true, "token": token, "acesDictionary": entries, "includeExtendedInfo": extended})
		}
		return map[string]any{"count": len(value), "value": value}, nil
	})
	o.verify("[]AccessControlList", doc)
	send(w, doc, nil)
}

// information is the extended information of an entry; what is 0 is left out.
func information(allow, deny int, inherited ace) map[string]any {
	doc := map[string]any{}
	for name, value := range map[string]int{"effectiveAllow": allow, "effectiveDeny": deny, "inheritedAllow": inherited.allow, "inheritedDeny": inherited.deny} {
		if value != 0 {
			doc[name] = value
		}
	}
	return doc
}

// sees reports whether a project exists for a token.
func (t *jobToken) sees(p *Project) bool {
	o := p.org
	o.mu.Lock()
	defer o.mu.Unlock()
	return t.personal || p == t.project || p.admitted[t.project]
}

func noProject(w http.ResponseWriter, name string) {
	restRefusal{http.StatusNotFound, "TF200016: The following project does not exist: " + name + ". Verify that the name of the project is correct and that the project exists on the specified Azure DevOps Server.",
		"Microsoft.TeamFoundation.Core.WebApi.ProjectDoesNotExistWithNameException", 3000}.write(w)
}
