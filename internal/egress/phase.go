package egress

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

const (
	maxHops = 5
	// maxDiscard is how much of an unwanted response is read so that its
	// connection can be used again. A longer one closes the connection.
	maxDiscard = 64 << 10
)

// phaseTransport is the transport of one phase: it checks requests against what
// the phase may do, follows redirects, and retries.
type phaseTransport struct {
	network *Network
	phase   Phase
	hosts   []string
}

// RoundTrip sends the request. A followed redirect is visible only in the
// response's Request.
func (g *phaseTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	host, err := g.checkURL(req.URL)
	if err == nil && (!g.allowed(req.URL, host) || g.phase.LinkLocal && !isLinkLocal(req.URL.Hostname())) {
		err = &HostNotAllowedError{Host: host, Phase: g.phase.Name}
	}
	if err != nil {
		closeBody(req)
		return nil, err
	}
	budget := budget{left: g.phase.Retries, wait: maxTotalWait, repeatWrites: g.phase.RepeatWrites}
	counters := g.network.counters.of(g.phase.Registry, host)
	at := hop{host: host, counters: counters, blob: isBlob(req.URL.Path)}
	switch {
	case g.phase.Registry != "":
		at.window = &counters.windows[kind(req)]
	case g.phase.Paced:
		at.window = g.network.window(host)
	}
	download := isDownload(req.URL.Path) && req.Method == http.MethodGet
	for hops := 0; ; hops++ {
		resp, err := g.send(req, at, &budget)
		if err != nil {
			if e, ok := err.(*Error); ok && hops > 0 {
				e.redirected = true
			}
			return nil, err
		}
		if g.phase.Redirects != FollowDownloads || !download {
			return resp, nil
		}
		next, err := g.redirect(req, resp, hops)
		if err != nil {
			discard(resp.Body)
			return nil, err
		}
		if next == nil {
			return resp, nil
		}
		discard(resp.Body)
		req = next
		at.host, _ = authority(req.URL)
		at.window, at.redirected = nil, true
	}
}

// isBlob reports whether a path is that of a blob.
func isBlob(path string) bool {
	return strings.HasPrefix(path, "/v2/") && strings.Contains(path, "/blobs/")
}

// isDownload reports whether a path is that of a blob's content. A repository may
// be named blobs.
func isDownload(path string) bool {
	parts := strings.Split(path, "/")
	return strings.HasPrefix(path, "/v2/") && len(parts) > 4 && parts[len(parts)-2] == "blobs"
}

// checkURL checks what applies to every request, first or redirected, and
// returns its host:port.
func (g *phaseTransport) checkURL(u *url.URL) (string, error) {
	if _, _, err := ref.SplitPort(u.Host); err != nil {
		return "", &Error{Phase: g.phase.Name, Host: sanitize.Bounded(u.Host, maxText), Reason: "has no valid port: " + err.Error(), Remedy: "Correct its address"}
	}
	host, ok := authority(u)
	if !ok {
		return "", &Error{Phase: g.phase.Name, Host: sanitize.Bounded(u.Host, maxText), Reason: "is no valid host name", Remedy: "Write it in ASCII, without blanks"}
	}
	switch {
	case u.User != nil:
		return "", &Error{Phase: g.phase.Name, Host: host, Reason: "would be asked with a user in its address", Remedy: "Name the host alone; credentials come from a service connection"}
	case u.Scheme == "https":
	case u.Scheme == "http" && (g.network.plain[host] || g.phase.LinkLocal && isLinkLocal(u.Hostname())):
	case u.Scheme == "http":
		return "", &Error{Phase: g.phase.Name, Host: host, Reason: "would go over plain HTTP, which nothing protects", Remedy: "Use https; at a prompt, --plain-http names a host that speaks HTTP"}
	default:
		return "", &Error{Phase: g.phase.Name, Host: host, Reason: "would be asked over " + sanitize.Bounded(u.Scheme, maxText) + ", which is not spoken here", Remedy: "Use https"}
	}
	return host, nil
}

// isLinkLocal reports whether a host is an address that no router forwards.
func isLinkLocal(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLinkLocalUnicast()
}

func (g *phaseTransport) allowed(u *url.URL, host string) bool {
	for _, allowed := range g.hosts {
		if at, ok := ref.HostPort(allowed, ref.DefaultPort(u.Scheme)); ok && at == host {
			return true
		}
	}
	return false
}

// forwardedHeaders are the headers that are sent to another host. A list of
// secret headers could never be complete.
var forwardedHeaders = []string{"Accept", "If-Match", "If-None-Match", "If-Range", "Range", "User-Agent"}

// redirect returns the request that the response redirects to, or nil if the
// response is to be returned as it is.
func (g *phaseTransport) redirect(req *http.Request, resp *http.Response, hops int) (*http.Request, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location := resp.Header.Get("Location")
	hasBody := req.Body != nil && req.Body != http.NoBody
	if location == "" || hasBody || (req.Method != http.MethodGet && req.Method != http.MethodHead) {
		return nil, nil
	}
	from, _ := authority(req.URL)
	refuse := func(reason, remedy string) (*http.Request, error) {
		return nil, &Error{Phase: g.phase.Name, Host: from, Reason: reason, Remedy: remedy}
	}
	if hops >= maxHops {
		return refuse("redirects more than 5 times", "Check what is in front of it")
	}
	target, err := req.URL.Parse(location)
	if err != nil {
		return refuse("redirects to an address that cannot be understood", "Check what is in front of it")
	}
	target.User, target.Fragment, target.RawFragment = nil, "", ""
	to, ok := authority(target)
	if !ok {
		return refuse("redirects to "+sanitize.Bounded(target.Host, maxText)+", which is no valid host name", "Check what is in front of it")
	}
	if target.Scheme == "http" && (req.URL.Scheme != "http" || to != from) {
		return refuse("redirects to "+to+" over plain HTTP, which nothing protects", "It is not followed; check what is in front of the registry")
	}
	if _, err := g.checkURL(target); err != nil {
		return nil, err
	}
	next := req.Clone(req.Context())
	next.URL, next.Host, next.Response = target, "", resp
	if to != from || target.Scheme != req.URL.Scheme {
		next.Header = http.Header{}
		for _, name := range forwardedHeaders {
			if values := req.Header.Values(name); values != nil {
				next.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
	}
	next.Header.Del("Referer")
	return next, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, maxDiscard)
	body.Close()
}
