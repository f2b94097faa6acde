package acr

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"acrpromote/internal/ref"
	"acrpromote/internal/sanitize"
)

// challenge is how a registry other than Azure's wants clients to sign in: not
// at all (""), "basic", or "bearer" with the realm that issues tokens.
type challenge struct {
	scheme  string
	realm   url.URL
	service string
	pinged  bool // the registry said so when asked for nothing else
}

// ping returns the challenge, and requests it if it is not known.
func (s *SignIn) ping(ctx context.Context) (challenge, error) {
	if identity, ok := s.credential.(entra); ok {
		_, err := s.exchange(ctx, identity)
		return challenge{}, err
	}
	s.mu.Lock()
	known := s.challenge
	s.mu.Unlock()
	if known != nil && (known.scheme != "" || known.pinged) {
		return *known, nil
	}
	return s.challenges.Do(ctx, "ping", func(ctx context.Context) (challenge, error) {
		c, err := s.pingOnce(ctx)
		if err == nil {
			c.pinged = true
			s.setChallenge(c)
		}
		return c, err
	})
}

func (s *SignIn) setChallenge(c challenge) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.challenge == nil || s.challenge.scheme == "" && (c.scheme != "" || c.pinged) {
		s.challenge = &c
	}
}

func (s *SignIn) pingOnce(ctx context.Context) (challenge, error) {
	headers, err := s.pingUnsigned(ctx)
	if err != nil || headers == nil {
		return challenge{}, err
	}
	return s.selectChallenge(headers)
}

// pingUnsigned returns the registry's challenges, nil if it has none.
func (s *SignIn) pingUnsigned(ctx context.Context) ([]string, error) {
	const op = "asking how to sign in"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.scheme+"://"+s.host+"/v2/", nil)
	if err != nil {
		return nil, transportError(s.host, op, err, s.secrets)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, transportError(s.host, op, err, s.secrets)
	}
	body, err := readAll(resp.Body)
	if err != nil {
		return nil, transportError(s.host, op, err, s.secrets)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil, nil
	case resp.StatusCode != http.StatusUnauthorized:
		return nil, responseError(s.host, op, resp.StatusCode, body, s.secrets)
	}
	return append([]string{}, resp.Header.Values("Www-Authenticate")...), nil
}

// service returns the service that tokens of an Azure registry are for: its login
// server. A regional endpoint (name.region.geo.azurecr.io) is asked, since it is not
// documented whether it wants its own name or the login server's. It may name no
// other, and tokens are requested from the endpoint itself in any case.
func (s *SignIn) service(ctx context.Context) (string, error) {
	login := ref.LoginServer(s.host)
	if !s.azure || login == s.host {
		return s.host, nil
	}
	s.mu.Lock()
	known := s.serviceName
	s.mu.Unlock()
	if known != "" {
		return known, nil
	}
	c, err := s.challenges.Do(ctx, "service", func(ctx context.Context) (challenge, error) {
		headers, err := s.pingUnsigned(ctx)
		if err != nil {
			return challenge{}, err
		}
		c := challenge{service: s.host}
		for _, header := range headers {
			if _, parameters := parseChallenge(header); strings.EqualFold(parameters["service"], login) {
				c.service = login
			}
		}
		s.mu.Lock()
		s.serviceName = c.service
		s.mu.Unlock()
		return c, nil
	})
	return c.service, err
}

// selectChallenge returns the first challenge that the credential can meet.
func (s *SignIn) selectChallenge(headers []string) (challenge, error) {
	const op = "signing in"
	_, byPassword := s.credential.(password)
	var offered []string
	for _, header := range headers {
		scheme, parameters := parseChallenge(header)
		offered = append(offered, sanitize.Bounded(scheme, 20))
		switch {
		case scheme == "basic" && byPassword:
			return challenge{scheme: "basic"}, nil
		case scheme == "bearer":
			realm, err := url.Parse(parameters["realm"])
			if err != nil || realm.Hostname() == "" || realm.User != nil {
				return challenge{}, &Error{Host: s.host, Op: op, detail: "its challenge names no address for tokens that can be understood", Remedy: "Check the registry's configuration"}
			}
			issuer, err := s.issuer(realm)
			if err != nil {
				return challenge{}, err
			}
			realm.Host, realm.Fragment = issuer, ""
			return challenge{scheme: "bearer", realm: *realm, service: parameters["service"]}, nil
		}
	}
	if !byPassword && len(offered) > 0 && strings.Contains(strings.Join(offered, " "), "basic") {
		return challenge{}, &Error{Host: s.host, Op: op, kind: ErrDenied, Status: http.StatusUnauthorized, detail: "it needs a user and password", Remedy: s.wantsCredential()}
	}
	return challenge{}, &Error{Host: s.host, Op: op, Status: http.StatusUnauthorized, detail: "it offers no way to sign in that is known here (" + strings.Join(offered, ", ") + ")", Remedy: "Check the registry's configuration"}
}

// issuer returns the host of a realm, if tokens may be requested there: the registry
// itself, Docker Hub's token host, and the one that PermitTokenHost has permitted. A
// request without a credential may go to any host.
func (s *SignIn) issuer(realm *url.URL) (string, error) {
	if s.owns(realm) {
		return s.host, nil
	}
	host := ref.CanonicalHost(realm.Host)
	s.mu.Lock()
	permitted, withheld := s.tokenHost, s.tokenHostWithheld
	s.mu.Unlock()
	if realm.Scheme == "https" && s.tokenClient != nil && (!s.named() || host == dockerHubTokens(s.host) || host == permitted && withheld == "") {
		return host, nil
	}
	e := &Error{Host: s.host, Op: "signing in", kind: ErrDenied,
		detail: fmt.Sprintf("it requires a token from %s, but a credential for one host is not sent to another; no request was sent there", sanitize.Bounded(realm.Scheme+"://"+realm.Host, 200)),
		Remedy: "Name the host as tokenHost of this registry in a flow file, with rules that are verified; or use a registry that issues tokens on its own host, or accepts user and password"}
	if realm.Scheme == "https" && host == permitted {
		e.detail = fmt.Sprintf("it requires a token from %s, which the flow file names as its tokenHost, but a password is sent there only if the rules are verified: %s; no request was sent there", host, withheld)
		e.Remedy = "Make sure that the rules are verified, or use a registry that issues tokens on its own host"
	}
	return "", e
}

// PermitTokenHost permits another host to issue the registry's tokens, and so to
// receive the password. If withheld, a clause, is not empty, it says why the password
// must not go there. It must be called before the first
// request.
func (s *SignIn) PermitTokenHost(host, withheld string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokenHost, s.tokenHostWithheld = ref.CanonicalHost(host), withheld
}

// dockerHubTokens returns the host that issues the tokens of Docker Hub, which is not
// the registry's own; "" for every other registry.
func dockerHubTokens(registry string) string {
	switch registry {
	case "index.docker.io", "registry-1.docker.io":
		return "auth.docker.io"
	}
	return ""
}

// parseChallenge reads one WWW-Authenticate challenge (RFC 9110, 11.6.1): the
// scheme and names of parameters in lower case.
func parseChallenge(header string) (scheme string, parameters map[string]string) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	parameters = map[string]string{}
	for rest = strings.TrimLeft(rest, " ,\t"); rest != "" && len(parameters) < 20; rest = strings.TrimLeft(rest, " ,\t") {
		name, after, found := strings.Cut(rest, "=")
		if !found {
			break
		}
		var value string
		after = strings.TrimLeft(after, " \t")
		if strings.HasPrefix(after, `"`) {
			value, rest = quotedString(after[1:])
		} else {
			value, rest, _ = strings.Cut(after, ",")
			value = strings.TrimSpace(value)
		}
		if name = strings.ToLower(strings.TrimSpace(name)); parameters[name] == "" {
			parameters[name] = value
		}
	}
	return strings.ToLower(scheme), parameters
}

// quotedString reads up to the closing quote, and returns the rest too.
func quotedString(text string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\\':
			if i++; i < len(text) {
				b.WriteByte(text[i])
			}
		case '"':
			return b.String(), text[i+1:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}
