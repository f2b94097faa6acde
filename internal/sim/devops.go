package sim

import (
	"crypto/sha1"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"
)

// Organization is one Azure DevOps organisation, at the addresses that Addresses
// lists, or a collection of a server on premises. Everything in it may be changed
// while it serves: a test or the demo acts for the people between two runs of
// the program.
type Organization struct {
	name   string
	id     string
	signer *signer

	documents, system atomic.Int32 // Addresses
	server, path      string       // of a server: its URL, with a slash at its end, and the path

	mu           sync.Mutex
	now          func() time.Time
	serial       map[string]int
	projects     []*Project
	members      map[string][]string // of a group's id: ids of its members
	tokens       map[string]*jobToken
	personal     map[string]bool // personal access tokens
	reach        Reach
	interceptors []func(http.ResponseWriter, *http.Request) bool
	runToken     RunToken
	messages     bool // refusals of tokens have their reason in value.Message
	oneStep      bool // a click answers one step
	explicitOnly bool // access control lists leave out what is inherited
	deviating    []string
}

// DevOps opens an organisation. Asked again for the same name, it returns the
// same organisation.
func (c *Cloud) DevOps(name string) *Organization {
	if o, ok := c.existing("dev.azure.com", name).(*Organization); ok {
		return o
	}
	o := newOrganization(name)
	c.front("dev.azure.com").add(name, o)
	c.front("vsrm.dev.azure.com").add(name, o)
	c.Handle(name+".visualstudio.com", o)
	c.Handle(name+".vsrm.visualstudio.com", o)
	return o
}

func newOrganization(name string) *Organization {
	return &Organization{
		name: name, id: guidOf("organization/" + name), signer: newSigner("devops/" + name),
		now: time.Now, members: map[string][]string{}, tokens: map[string]*jobToken{}, personal: map[string]bool{},
		serial: map[string]int{"build": 4710, "release": 90, "environment": 6, "check": 20, "definition": 11, "queue": 20, "policy": 16},
	}
}

// organizationOf finds the organisation that issues tokens under this name.
func (c *Cloud) organizationOf(issuer string) *Organization {
	c.mu.Lock()
	f, ok := c.hosts[address("dev.azure.com")].(*front)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	for _, h := range f.all() {
		if o, ok := h.(*Organization); ok && o.Issuer() == issuer {
			return o
		}
	}
	return nil
}

// Issuer is the issuer of the organisation's federated assertions.
func (o *Organization) Issuer() string { return "https://vstoken.dev.azure.com/" + o.id }

// SetClock sets the clock that every recorded time comes from; time.Now unless
// set. Lifetimes of tokens run by real time.
func (o *Organization) SetClock(now func() time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = now
}

// Intercept lets answer see every request to the organisation first, whichever client
// sends it; it returns true when it has answered. The newest interceptor is
// asked first. They stay until RestoreAnswers.
func (o *Organization) Intercept(answer func(w http.ResponseWriter, r *http.Request) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.interceptors = append([]func(http.ResponseWriter, *http.Request) bool{answer}, o.interceptors...)
}

// RestoreAnswers removes every interceptor.
func (o *Organization) RestoreAnswers() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.interceptors = nil
}

// next counts: build ids, check configuration ids and so on. Callers hold mu.
func (o *Organization) next(kind string) int {
	o.serial[kind]++
	return o.serial[kind]
}

// guid is a new guid, the same in every process that does the same things.
// Callers hold mu.
func (o *Organization) guid(kind string) string {
	return guidOf(fmt.Sprintf("%s/%s/%d", o.name, kind, o.next("guid/"+kind)))
}

// Identity is a person or a group as Azure DevOps tells it.
type Identity struct {
	ID          string
	DisplayName string
	UniqueName  string
	Descriptor  string
	Group       bool
}

// Person is somebody by role: "Release Manager" is release.manager@example.com.
// The same role is the same person everywhere.
func Person(role string) Identity {
	unique := strings.ToLower(strings.ReplaceAll(role, " ", ".")) + "@example.com"
	return Identity{ID: guidOf("person/" + unique), DisplayName: role, UniqueName: unique,
		Descriptor: "aad." + strings.ReplaceAll(guidOf("descriptor/"+unique), "-", "")}
}

// Service is an identity that is not a person, by its role and its subject type:
// aadsp is a service principal, svc the build service of a project.
func Service(role, subjectType string) Identity {
	id := guidOf("service/" + role)
	return Identity{ID: id, DisplayName: role, UniqueName: id,
		Descriptor: subjectType + "." + strings.ReplaceAll(guidOf("descriptor/service/"+role), "-", "")}
}

// Group defines a group of the organisation, by its name as it is shown:
// [shop]\Release Managers. Its members may act for it.
func (o *Organization) Group(name string, members ...Identity) Identity {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.group(name)
	o.members[g.ID] = nil
	for _, m := range members {
		o.members[g.ID] = append(o.members[g.ID], m.ID)
	}
	return g
}

func (o *Organization) group(name string) Identity {
	return Identity{ID: guidOf("group/" + o.name + "/" + name), DisplayName: name, Group: true,
		UniqueName: "vstfs:///Classification/TeamProject/" + guidOf("scope/"+o.name+"/"+name),
		Descriptor: "vssgp." + strings.ReplaceAll(guidOf("descriptor/"+name), "-", "")}
}

// Group is a group of the project, such as Contributors.
func (p *Project) Group(name string) Identity { return p.group(name) }

func (p *Project) group(name string) Identity { return p.org.group("[" + p.name + "]\\" + name) }

// mayActFor reports whether by is the assigned identity or a member of it.
// Callers hold mu.
func (o *Organization) mayActFor(by, assigned Identity) bool {
	if by.ID == assigned.ID {
		return true
	}
	for _, member := range o.members[assigned.ID] {
		if member == by.ID {
			return true
		}
	}
	return false
}

// ref is the identity as it stands in documents.
func (o *Organization) ref(i Identity) map[string]any {
	if i.ID == "" {
		return nil
	}
	avatar := o.Collection() + "_apis/GraphProfile/MemberAvatars/" + i.Descriptor
	ref := map[string]any{
		"displayName": i.DisplayName,
		"url":         "https://spsprodeus1.vssps.visualstudio.com/A" + o.id + "/_apis/Identities/" + i.ID,
		"_links":      map[string]any{"avatar": map[string]any{"href": avatar}},
		"id":          i.ID, "uniqueName": i.UniqueName, "imageUrl": avatar, "descriptor": i.Descriptor,
	}
	if i.Group {
		ref["isContainer"] = true
	}
	return ref
}

// Project is a team project.
type Project struct {
	org         *Organization
	name        string
	id          string
	resources   []*protected
	pipelines   map[string]int
	runs        []*Run
	releases    []*Release
	denied      map[string]bool
	admitted    map[*Project]bool
	environment map[string]*Environment
	connection  map[string]*ServiceConnection

	repositories []*Repository
	queues       []*Queue
	leases       []Lease
	acls         map[string][]ace // by security token
}

// Project opens a project. Asked again for the same name, it returns the same
// project.
func (o *Organization) Project(name string) *Project {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.project(name); p != nil {
		return p
	}
	p := &Project{org: o, name: name, id: guidOf("project/" + o.name + "/" + name), pipelines: map[string]int{},
		denied: map[string]bool{}, acls: map[string][]ace{}, admitted: map[*Project]bool{}, environment: map[string]*Environment{}, connection: map[string]*ServiceConnection{}}
	p.hosted()
	o.projects = append(o.projects, p)
	return p
}

// project finds by name or id. Callers hold mu.
func (o *Organization) project(nameOrID string) *Project {
	for _, p := range o.projects {
		if strings.EqualFold(p.name, nameOrID) || strings.EqualFold(p.id, nameOrID) {
			return p
		}
	}
	return nil
}

// Name is the project's name.
func (p *Project) Name() string { return p.name }

// ID is the project's guid.
func (p *Project) ID() string { return p.id }

// The kinds of documents that can be denied to the build service identity.
const (
	Builds         = "builds"
	Approvals      = "approvals"
	CheckSuites    = "suites"
	Configurations = "configurations"
	Releases       = "releases"
	Endpoints      = "endpoints"
	Environments   = "environments"
	Repositories   = "repositories"
	Attachments    = "attachments"

	PipelinePermissions = "pipelinepermissions"
	Roles               = "roles"
	Queues              = "queues"
	Policies            = "policies"
	AccessLists         = "accesslists"
	RetentionLeases     = "leases"
)

// Deny takes the permission to read one kind of documents from the build
// service identity: they answer 403. Allow gives it back.
func (p *Project) Deny(kind string) { p.setDenied(kind, true) }

// Allow gives back what Deny took.
func (p *Project) Allow(kind string) { p.setDenied(kind, false) }

func (p *Project) setDenied(kind string, denied bool) {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	p.denied[kind] = denied
}

// Admit lets the jobs of another project read this one, as the build service
// of a collection may. Otherwise this project does not exist for them.
func (p *Project) Admit(other *Project) {
	p.org.mu.Lock()
	defer p.org.mu.Unlock()
	p.admitted[other] = true
}

// pipeline is the id of the definition. Callers hold mu.
func (p *Project) pipeline(name string) int {
	if p.pipelines[name] == 0 {
		p.pipelines[name] = p.org.next("definition")
	}
	return p.pipelines[name]
}

// buildService is who the job tokens of the project's runs act as.
func (p *Project) buildService() string {
	return p.name + " Build Service (" + p.org.name + ")"
}

func (p *Project) url() string { return p.org.Collection() + p.id }

func (p *Project) ref() map[string]any {
	return map[string]any{
		"id": p.id, "name": p.name, "url": p.org.Collection() + "_apis/projects/" + p.id,
		"state": "wellFormed", "revision": 11, "visibility": "private", "lastUpdateTime": "2020-11-19T08:14:49.58Z",
	}
}

// recordNamespace is what Azure Pipelines hashes a record's name with.
var recordNamespace = []byte{83, 55, 27, 127, 212, 97, 75, 93, 197, 226, 39, 51, 83, 35, 223, 36}

// recordID is the id of a stage, phase, job or task record: SHA-1 over a
// namespace and the lower-case name in UTF-16, the same in every run.
func recordID(segments ...string) string {
	var used []string
	for i, s := range segments {
		// The stage of a pipeline without stages leaves no trace in the names below it.
		if s != "" && (i > 0 || s != "__default" || len(segments) == 1) {
			used = append(used, s)
		}
	}
	h := sha1.New()
	h.Write(recordNamespace)
	for _, u := range utf16.Encode([]rune(strings.ToLower(strings.Join(used, ".")))) {
		h.Write([]byte{byte(u >> 8), byte(u)})
	}
	b := h.Sum(nil)[:16]
	b[7] = b[7]&0x0f | 0x50
	// A guid is written with its first three fields little-endian.
	return formatGUID([]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]})
}

// withAttempt appends the number of a later attempt, as names of records do.
func withAttempt(name string, attempt int) string {
	if attempt > 1 {
		return fmt.Sprintf("%s.%d", name, attempt)
	}
	return name
}

// stamp is a time as most documents write it.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.9999999Z")
}

// noTime is how the service writes a time that was never set: with no zone.
const noTime = "0001-01-01T00:00:00"
