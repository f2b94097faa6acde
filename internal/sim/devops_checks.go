package sim

import (
	"fmt"
	"strings"
	"time"
)

// CheckKind is a type of check.
type CheckKind struct {
	id, name, record string
	definition       map[string]any // of a task check
}

// The types of checks, with the ids that Azure DevOps gives them.
var (
	ApprovalCheck      = CheckKind{id: "8c6f20a7-a545-4486-9777-f762fafe0d4d", name: "Approval", record: "Checkpoint.Approval"}
	authorizationCheck = CheckKind{id: "e1a1fc6c-c278-4492-ae1c-c42f8697612c", name: "Authorization", record: "Checkpoint.Authorization"}
	RequiredTemplate   = CheckKind{id: "4020e66e-b0f3-47e1-bc88-48f3cc59b5f3", name: "ExtendsCheck", record: "Checkpoint.ExtendsCheck"}
	TaskCheck          = CheckKind{id: "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7", name: "Task Check", record: "Checkpoint.TaskCheck",
		definition: map[string]any{"id": "9c3e8943-130d-4c78-ac63-8af81df62dfb", "name": "InvokeRESTAPI", "version": "1.220.0"}}
	BusinessHours = CheckKind{id: "fe1de3ee-a436-41b4-bb20-f6eb4cb879a7", name: "Task Check", record: "Checkpoint.TaskCheck",
		definition: map[string]any{"id": "445fde2f-6c39-441c-807f-8a59ff2e075f", "name": "evaluateBusinessHours", "version": "0.0.1"}}
)

// ApprovalSettings are the settings of an approval check.
type ApprovalSettings struct {
	Approvers              []Identity
	MinRequired            int // 0 is all of them
	InSequence             bool
	RequesterCannotApprove bool
	Instructions           string
}

// Check is one configured check of a resource.
type Check struct {
	resource *protected
	id       int
	kind     CheckKind
	version  int
	disabled bool
	created  time.Time
	modified time.Time
	settings ApprovalSettings
	deleted  bool
}

// ID is the check's configuration id.
func (c *Check) ID() int { return c.id }

// Disable switches the check off; runs that have evaluated it keep what they
// have. Enable switches it on. Both make a new version.
func (c *Check) Disable() { c.change(func() { c.disabled = true }) }

// Enable switches the check on.
func (c *Check) Enable() { c.change(func() { c.disabled = false }) }

// Update replaces an approval check's settings, which makes a new version.
func (c *Check) Update(settings ApprovalSettings) { c.change(func() { c.settings = settings }) }

// Delete removes the check from its resource.
func (c *Check) Delete() { c.change(func() { c.deleted = true }) }

func (c *Check) change(f func()) {
	o := c.resource.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	c.version++
	c.modified = o.now()
}

// Resource is what checks can guard: an Environment, a ServiceConnection or a Queue.
type Resource interface{ guarded() *protected }

// protected is a resource with its checks.
type protected struct {
	project *Project
	kind    string // environment, endpoint, queue
	id      string
	name    string
	checks  []*Check
	hidden  bool

	open      bool  // to all pipelines
	permitted []int // pipelines
	roles     []roleAssignment
}

func (r *protected) guarded() *protected { return r }

// ID is the resource's id: a number for an environment, a guid for a service
// connection.
func (r *protected) ID() string { return r.id }

// Name is the resource's name.
func (r *protected) Name() string { return r.name }

// AddApproval adds an approval check.
func (r *protected) AddApproval(settings ApprovalSettings) *Check {
	return r.add(ApprovalCheck, settings)
}

// AddCheck adds a check that no person decides. It passes in every stage that
// is queued from now on, until Stage.SetCheck says otherwise.
func (r *protected) AddCheck(kind CheckKind) *Check { return r.add(kind, ApprovalSettings{}) }

func (r *protected) add(kind CheckKind, settings ApprovalSettings) *Check {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	c := &Check{resource: r, id: o.next("check"), kind: kind, version: 1, created: o.now(), modified: o.now(), settings: settings}
	r.checks = append(r.checks, c)
	return c
}

// DenyView takes the permission to view the resource from the build service
// identity: check suites show its type and id alone, and its checks cannot be read.
func (r *protected) DenyView() { r.setHidden(true) }

// AllowView gives back what DenyView took.
func (r *protected) AllowView() { r.setHidden(false) }

func (r *protected) setHidden(hidden bool) {
	o := r.project.org
	o.mu.Lock()
	defer o.mu.Unlock()
	r.hidden = hidden
}

func (r *protected) ref(named bool) map[string]any {
	ref := map[string]any{"type": r.kind, "id": r.id}
	if named && !r.hidden {
		ref["name"] = r.name
	}
	return ref
}

// Environment is a YAML pipeline's deployment target.
type Environment struct {
	*protected
	number  int
	creator Identity
}

// Environment opens an environment, made by the project's administrator. Asked
// again for the same name, in any case, it returns the same one.
func (p *Project) Environment(name string) *Environment {
	return p.EnvironmentBy(name, Person("Project Administrator"))
}

// EnvironmentBy opens an environment that somebody made for themself: any
// contributor can, and is then its administrator.
func (p *Project) EnvironmentBy(name string, creator Identity) *Environment {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	key := strings.ToLower(name)
	if p.environment[key] == nil {
		n := p.org.next("environment")
		e := &Environment{protected: &protected{project: p, kind: "environment", id: fmt.Sprint(n), name: name}, number: n, creator: creator}
		// Those who may create environments in the project may view them; only the
		// creator is an administrator.
		e.roles = []roleAssignment{
			{creator, Administrator, false}, {p.group("Project Administrators"), "Creator", true},
			{p.group("Contributors"), "Creator", true}, {p.group("Project Valid Users"), Reader, true},
		}
		p.environment[key] = e
		p.resources = append(p.resources, e.protected)
	}
	return p.environment[key]
}

func (e *Environment) document() map[string]any {
	o := e.project.org
	return map[string]any{
		"id": e.number, "name": e.name, "description": "",
		"createdBy": o.ref(e.creator), "createdOn": "2026-01-12T09:41:07.2133333Z",
		"lastModifiedBy": o.ref(e.creator), "lastModifiedOn": "2026-01-12T09:41:07.2133333Z",
		"project": map[string]any{"id": e.project.id, "name": nil},
	}
}

// configuration is the check as pipelines/checks/configurations tells it.
func (c *Check) configuration(settings bool) map[string]any {
	p := c.resource.project
	o := p.org
	admin := o.ref(Person("Project Administrator"))
	url := fmt.Sprintf("%s/_apis/pipelines/checks/configurations/%d", p.url(), c.id)
	doc := map[string]any{
		"createdBy": admin, "createdOn": stamp(c.created), "modifiedBy": admin, "modifiedOn": stamp(c.modified),
		"timeout": 43200, "_links": map[string]any{"self": map[string]any{"href": url}},
		"id": c.id, "version": c.version, "type": map[string]any{"id": c.kind.id, "name": c.kind.name},
		"url": url, "resource": c.resource.ref(true), "isDisabled": c.disabled,
	}
	if !settings {
		return doc
	}
	switch c.kind.name {
	case ApprovalCheck.name:
		doc["settings"] = map[string]any{
			"approvers": o.shortRefs(c.settings.Approvers), "executionOrder": order(c.settings.InSequence),
			"minRequiredApprovers": c.settings.MinRequired, "instructions": c.settings.Instructions,
			"blockedApprovers": []any{}, "requesterCannotBeApprover": c.settings.RequesterCannotApprove,
		}
	case TaskCheck.name:
		doc["settings"] = map[string]any{"definitionRef": c.kind.definition, "displayName": c.kind.definition["name"],
			"inputs": map[string]any{}, "retryInterval": 5, "linkedVariableGroup": nil}
	case RequiredTemplate.name:
		doc["settings"] = map[string]any{"extendsChecks": []any{map[string]any{
			"repositoryType": "git", "repositoryName": p.name + "/templates", "repositoryRef": "refs/heads/main", "templatePath": "release.yml"}}}
	}
	return doc
}

func (o *Organization) shortRefs(identities []Identity) []any {
	refs := []any{}
	for _, i := range identities {
		refs = append(refs, map[string]any{"displayName": i.DisplayName, "id": i.ID, "uniqueName": i.UniqueName, "descriptor": i.Descriptor})
	}
	return refs
}

func order(inSequence bool) string {
	if inSequence {
		return "inSequence"
	}
	return "anyOrder"
}
