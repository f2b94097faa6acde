package acr

import (
	"context"
	"net/http"
)

// asks tells whether a request may have to go unsigned first: a registry that
// is not Azure's says how it wants to be signed in to by refusing one. An
// identity of Microsoft Entra ID is for nobody else, and nobody else is asked.
func (s *SignIn) asks() bool {
	if _, ok := s.credential.(entra); ok || s.azure {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.challenge == nil || s.challenge.scheme == ""
}

// approach sends a request as it is, and learns from the answer how to sign in.
// It gives the request back if that is still to be sent, signed; else the
// answer. No request is made for the challenge alone, unless the real one
// cannot be sent twice, or its answer may be one that is for strangers: who is
// named by user and password takes no unsigned "not found" for true.
func (a *authorizing) approach(req *http.Request) (still *http.Request, resp *http.Response, err error) {
	s := a.signIn
	_, named := s.credential.(password)
	known, end, err := s.learn(req.Context(), named)
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
	resp, err = a.next.RoundTrip(signed(req, ""))
	if err != nil || resp.Request == nil {
		return nil, resp, err
	}
	own := s.owns(resp.Request.URL)
	var c challenge
	switch status := resp.StatusCode; {
	case !own, status < 400:
		// It answered, or sent us to its storage, without asking who we are.
		s.learned(challenge{})
		return nil, resp, nil
	case status == http.StatusUnauthorized && resp.Header.Get("Www-Authenticate") != "":
		c, err = s.choose(resp.Header.Values("Www-Authenticate"))
		if err == nil {
			s.learned(c)
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
	if still = anew(req); still == nil {
		return nil, resp, nil
	}
	discard(resp)
	return still, nil, nil
}

// learn gives what is known of the challenge, nil for nothing. Of those who
// could sign in the first goes alone, and the others wait for what it learns,
// until it calls end; strangers go along, since all may be open to them.
func (s *SignIn) learn(ctx context.Context, named bool) (known *challenge, end func(), err error) {
	for {
		s.mu.Lock()
		known, busy := s.challenge, s.learning
		if known != nil || !named {
			s.mu.Unlock()
			return known, func() {}, nil
		}
		if busy == nil {
			done := make(chan struct{})
			s.learning = done
			s.mu.Unlock()
			return nil, func() {
				s.mu.Lock()
				s.learning = nil
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
