package sim

import (
	"net/http"
	"strings"
	"sync"
)

// Addresses is the form of the addresses that an organization gives out. Each
// organization answers at all of them.
type Addresses int32

const (
	DevAzure     Addresses = iota // https://dev.azure.com/NAME/, releases at vsrm.dev.azure.com
	VisualStudio                  // https://NAME.visualstudio.com/, releases at NAME.vsrm.visualstudio.com
)

// UseAddresses sets the form of the addresses in documents and variables, and
// that of the system connection of jobs, which has been seen to differ.
func (o *Organization) UseAddresses(documents, system Addresses) {
	o.documents.Store(int32(documents))
	o.system.Store(int32(system))
}

// DevOpsServer opens a server on premises with one collection, at an address such
// as https://devops.example/tfs/Shop/. It has no other host for releases, lists no
// resource areas, and gives jobs no address for the run's own token.
func (c *Cloud) DevOpsServer(collection string) *Organization {
	host, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(collection, "/"), "https://"), "/")
	o := newOrganization(path[strings.LastIndex(path, "/")+1:])
	o.server, o.path = "https://"+host+"/"+path+"/", "/"+path
	o.runToken = RunTokenNoAddress
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.hosts[address(host)].(*server)
	if !ok {
		s = &server{collections: map[string]*Organization{}}
		c.hosts[address(host)] = s
	}
	s.add(o)
	return o
}

// server is a host with several collections, told apart by the beginning of the
// path.
type server struct {
	mu          sync.Mutex
	collections map[string]*Organization // by path in lower case
}

func (s *server) add(o *Organization) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections[strings.ToLower(o.path)] = o
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.ToLower(r.URL.Path)
	s.mu.Lock()
	var found *Organization
	for root, o := range s.collections {
		if path == root || strings.HasPrefix(path, root+"/") {
			found = o
		}
	}
	s.mu.Unlock()
	if found == nil {
		http.NotFound(w, r)
		return
	}
	found.ServeHTTP(w, r)
}

// Collection is the collection's URL in documents and variables, with a slash at
// its end.
func (o *Organization) Collection() string { return o.address(Addresses(o.documents.Load()), false) }

// releases is the URL of the releases in documents and variables.
func (o *Organization) releases() string { return o.address(Addresses(o.documents.Load()), true) }

// systemURL is the URL of a job's system connection. In a release job it is that
// of the releases.
func (o *Organization) systemURL(release bool) string {
	return o.address(Addresses(o.system.Load()), release)
}

func (o *Organization) address(form Addresses, releases bool) string {
	switch {
	case o.server != "":
		return o.server
	case form == VisualStudio && releases:
		return "https://" + o.name + ".vsrm.visualstudio.com/"
	case form == VisualStudio:
		return "https://" + o.name + ".visualstudio.com/"
	case releases:
		return "https://vsrm.dev.azure.com/" + o.name + "/"
	}
	return "https://dev.azure.com/" + o.name + "/"
}

// place returns the path of a request below the collection's address, and which
// APIs the host serves.
func (o *Organization) place(r *http.Request) (rest string, core, releases bool) {
	host, path := strings.ToLower(r.Host), r.URL.Path
	switch {
	case o.server != "":
		return path[len(o.path):], true, true
	case strings.HasSuffix(host, ".visualstudio.com"):
		if first, below := cutSegment(path); strings.EqualFold(first, "DefaultCollection") {
			path = below
		}
		releases = strings.HasSuffix(host, ".vsrm.visualstudio.com")
	default:
		_, path = cutSegment(path)
		releases = strings.HasPrefix(host, "vsrm.")
	}
	return path, !releases, releases
}
