package acr

import (
	"context"
	"net/http"
)

// needsProbe reports whether a request may have to be sent unsigned first: a
// registry other than Azure's says how to sign in by refusing one. Identities
// of Microsoft Entra ID are for Azure's registries only, and nothing else is
// asked.
func (s *SignIn) needsProbe() bool {
	if _, ok := s.credential.(entra); ok || s.azure {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.challenge == nil || s.challenge.scheme == ""
}

// probe sends a request unsigned, and learns from the response how to sign in.
// It returns the request if it is still to be sent, signed; otherwise the
// response. No request is made for the challenge alone, unless the real one
// cannot be sent twice, or its response may differ for anonymous clients: with
// user and password an anonymous "not found" is not taken as true.
func (a *authTransport) probe(req *http.Request) (still *http.Request, resp *http.Response, err error) {
	s := a.signIn
	named := s.named()
	known, end, err := s.beginProbe(req.Context(), named)
	if err != nil {
		closeBody(req)
		return nil, nil, err
	}
	defer end()
	if known == nil && !replayable(req) {
		c, err := s.ping(req.Context())
		if err != nil {
			closeBody(req)
			return nil, nil, err
		}
		known = &c
	}
	if known != nil && known.scheme != "" {
		return req, nil, nil
	}
	resp, err = a.next.RoundTrip(withAuthorization(req, ""))
	if err != nil || resp.Request == nil {
		return nil, resp, err
	}
	own := s.owns(resp.Request.URL)
	var c challenge
	switch status := resp.StatusCode; {
	case !own, status < 400:
		// The registry answered, or redirected to its storage, without a
		// challenge.
		s.setChallenge(challenge{})
		return nil, resp, nil
	case status == http.StatusUnauthorized && resp.Header.Get("Www-Authenticate") != "":
		c, err = s.selectChallenge(resp.Header.Values("Www-Authenticate"))
		if err == nil {
			s.setChallenge(c)
		}
	case status >= 500, status == http.StatusTooManyRequests:
		return nil, resp, nil
	case !named, known != nil && known.pinged:
		return nil, resp, nil
	default:
		c, err = s.ping(req.Context())
	}
	switch {
	case err != nil:
		resp.Body.Close()
		return nil, nil, err
	case c.scheme == "":
		return nil, resp, nil
	}
	if still = rewind(req); still == nil {
		return nil, resp, nil
	}
	discard(resp)
	return still, nil, nil
}

// beginProbe returns the challenge, nil if it is not known. With user and
// password the first request goes alone, and the others wait for its result
// until it calls end. Anonymous requests do not wait, since the registry may be
// open to all.
func (s *SignIn) beginProbe(ctx context.Context, named bool) (known *challenge, end func(), err error) {
	for {
		s.mu.Lock()
		known, busy := s.challenge, s.probing
		if known != nil || !named {
			s.mu.Unlock()
			return known, func() {}, nil
		}
		if busy == nil {
			done := make(chan struct{})
			s.probing = done
			s.mu.Unlock()
			return nil, func() {
				s.mu.Lock()
				s.probing = nil
				s.mu.Unlock()
				close(done)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}
