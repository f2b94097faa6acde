package run

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"acrpromote/internal/defect"
	"acrpromote/internal/doctor"
	"acrpromote/internal/explain"
	"acrpromote/internal/ref"
	"acrpromote/internal/session"
)

// registriesAtOnce limits how many registries are read at a time.
const registriesAtOnce = 4

// asked are the registries that one identity reads.
type asked struct {
	*session.Management
	registries []*doctor.Registry
}

// readRegistries reads the settings of registries, what belongs to them, and who has
// rights on them. What cannot be read is added to the registry.
func readRegistries(ctx context.Context, s *session.Session, registries []doctor.Registry) {
	top := 0
	for _, r := range registries {
		top = max(top, r.Trust)
	}
	var order []string
	by := map[string]*asked{}
	for i := range registries {
		r := &registries[i]
		if !isAzure(r.Host) {
			continue
		}
		m, key, err := s.Management(r.Host, r.Trust < top)
		if err != nil {
			reason, remedy := explain.Split(err, "")
			r.Unread = append(r.Unread, doctor.Unread{What: "The registry", Reason: strings.TrimSuffix(reason, "."), Grant: remedy})
			continue
		}
		if by[key] == nil {
			by[key] = &asked{Management: m}
			order = append(order, key)
		}
		by[key].registries = append(by[key].registries, r)
	}
	var group errgroup.Group
	group.SetLimit(registriesAtOnce)
	for _, key := range order {
		a := by[key]
		found, err := a.Find(ctx, len(a.registries), a.named, a.Subscription)
		for i, f := range found {
			r := a.registries[i]
			if f == nil {
				missing := doctor.Unread{What: "The registry", Reason: "the identity sees it in no subscription", Grant: a.Grant("<resource-id>")}
				if err != nil {
					missing.Reason, missing.Grant = strings.TrimSuffix(err.Error(), "."), a.Remedy(err, "<resource-id>")
				}
				r.Unread = append(r.Unread, missing)
				continue
			}
			group.Go(func() error {
				defer defect.Catch(ctx)
				a.Read(ctx, f, r)
				return nil
			})
		}
	}
	_ = group.Wait()
}

// named returns the index of the registry with a login server, or -1.
func (a *asked) named(loginServer string) int {
	for i, r := range a.registries {
		for _, name := range append([]string{r.Host}, r.Hosts...) {
			if strings.EqualFold(loginServer, ref.LoginServer(name)) {
				return i
			}
		}
	}
	return -1
}
