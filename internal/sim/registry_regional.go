package sim

import (
	"net"
	"net/http"
	"strings"
)

// RegionalEndpoint opens the registry under a second name, such as
// contoso.westeurope.geo.azurecr.io. Which service its challenge names, and its
// tokens want, is not documented: the regional name itself, or the login server.
func (r *Registry) RegionalEndpoint(host, service string) {
	r.mu.Lock()
	r.regional[host] = service
	r.mu.Unlock()
	if !r.o.HTTP2 {
		r.cloud.HTTP1(host)
	}
	r.cloud.Handle(host, r)
}

// endpoint is the name that the request came to, and the service of its tokens.
func (r *Registry) endpoint(req *http.Request) (host, service string) {
	host = strings.ToLower(req.Host)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if service, ok := r.regional[host]; ok {
		return host, service
	}
	return r.host, r.host
}
