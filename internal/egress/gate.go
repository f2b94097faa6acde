package egress

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

const (
	maxHops = 5
	// maxDiscard is read off an answer nobody wants, so that its connection
	// can be used again; a longer one costs the connection.
	maxDiscard = 64 << 10
)

// gate is the transport of one phase: it lets pass what the phase may do,
// follows redirects, and repeats what may be repeated.
type gate struct {
	network *Network
	phase   Phase
	hosts   []string
}

// RoundTrip sends the request. A redirect that is followed shows in the
// answer's Request alone.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	host, err := g.permit(req.URL)
	if err == nil && !g.listed(req.URL, host) {
		err = &HostNotAllowed{Host: host, Phase: g.phase.Name}
	}
	if err != nil {
		closeBody(req)
		return nil, err
	}
	budget := budget{left: g.phase.Retries, wait: maxTotalWait, all: g.phase.RepeatWrites}
	account := g.network.ledger.account(g.phase.Party, host)
	leg := leg{host: host, account: account, blob: isBlob(req.URL.Path)}
	if g.phase.Party != "" {
		leg.window = &account.windows[kind(req)]
	}
	for hops := 0; ; hops++ {
		resp, err := g.send(req, leg, &budget)
		if err != nil {
			if e, ok := err.(*Error); ok && hops > 0 {
				e.redirected = true
			}
			return nil, err
		}
		if g.phase.Redirects != FollowDownloads {
			return resp, nil
		}
		next, err := g.follow(req, resp, hops)
		if err != nil {
			discard(resp.Body)
			return nil, err
		}
		if next == nil {
			return resp, nil
		}
		discard(resp.Body)
		req = next
		leg.host, _ = authority(req.URL)
		leg.window = nil
	}
}

// isBlob tells what a registry keeps apart from manifests: what is long.
func isBlob(path string) bool {
	return strings.HasPrefix(path, "/v2/") && strings.Contains(path, "/blobs/")
}

// permit checks what holds for every request, first or redirected, and gives
// its host:port.
func (g *gate) permit(u *url.URL) (string, error) {
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
	case u.Scheme == "http" && g.network.plain[host]:
	case u.Scheme == "http":
		return "", &Error{Phase: g.phase.Name, Host: host, Reason: "would go over plain HTTP, which nothing protects", Remedy: "Use https; at a prompt, --plain-http names a host that speaks HTTP"}
	default:
		return "", &Error{Phase: g.phase.Name, Host: host, Reason: "would be asked over " + sanitize.Bounded(u.Scheme, maxText) + ", which is not spoken here", Remedy: "Use https"}
	}
	return host, nil
}

func (g *gate) listed(u *url.URL, host string) bool {
	for _, allowed := range g.hosts {
		if at, ok := ref.HostPort(allowed, ref.DefaultPort(u.Scheme)); ok && at == host {
			return true
		}
	}
	return false
}

// carried are the headers that another host is told. All others stay behind:
// a list of what is secret could never be complete.
var carried = []string{"Accept", "If-Match", "If-None-Match", "If-Range", "Range", "User-Agent"}

// follow gives the request that the answer sends us to, or nil if the answer
// is to be handed out as it is.
func (g *gate) follow(req *http.Request, resp *http.Response, hops int) (*http.Request, error) {
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
		return refuse("redirects more than 5 times", "Check what stands in front of it")
	}
	target, err := req.URL.Parse(location)
	if err != nil {
		return refuse("redirects to an address that cannot be understood", "Check what stands in front of it")
	}
	target.User, target.Fragment, target.RawFragment = nil, "", ""
	to, ok := authority(target)
	if !ok {
		return refuse("redirects to "+sanitize.Bounded(target.Host, maxText)+", which is no valid host name", "Check what stands in front of it")
	}
	if target.Scheme == "http" && (req.URL.Scheme != "http" || to != from) {
		return refuse("redirects to "+to+" over plain HTTP, which nothing protects", "It is not followed; check what stands in front of the registry")
	}
	if _, err := g.permit(target); err != nil {
		return nil, err
	}
	next := req.Clone(req.Context())
	next.URL, next.Host, next.Response = target, "", resp
	if to != from || target.Scheme != req.URL.Scheme {
		next.Header = http.Header{}
		for _, name := range carried {
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
