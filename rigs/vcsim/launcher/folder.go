package main

import (
	"crypto/sha1" //nolint:gosec // vSphere names certificates by it
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// ticket lets its bearer make one request.
type ticket struct {
	method string
	url    *url.URL
}

const folderPath = "/folder/"

func isFolder(p string) bool { return strings.HasPrefix(p, folderPath) }

// serveFolder answers for the files of a datastore: 401 without session or ticket, 404 for what is not there (also for
// a file in a folder that is not), and never success for a body that ended early.
func (f *front) serveFolder(w http.ResponseWriter, r *http.Request, broken *rule) {
	if broken != nil && broken.Cut == 0 && broken.Keep == 0 && !broken.After && f.breakOff(w, broken) {
		return
	}
	bySession, host := f.authenticated(r), ""
	if !bySession {
		made := f.redeem(r)
		if made == nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		host = made.url.Hostname()
		if systemOf(host) == nil && !f.setup.ESXi { // of the vCenter itself: it has a host of its choice answer
			host = f.setup.Clusters[0].Hosts[0]
		}
	}
	if !f.may(folderNeeds(r.Method)) {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	directory, found := f.directoryOf(r.URL.Query(), host)
	if !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	file := path.Join(directory, path.Clean("/"+strings.TrimPrefix(r.URL.Path, folderPath)))
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		http.ServeFile(w, r, file)
	case http.MethodPut:
		f.receive(w, r, file, broken)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (f *front) receive(w http.ResponseWriter, r *http.Request, file string, broken *rule) {
	if info, err := os.Stat(path.Dir(file)); err != nil || !info.IsDir() {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	target, err := os.Create(file)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer target.Close()
	if broken != nil && broken.Cut > 0 {
		_, _ = io.CopyN(target, r.Body, broken.Cut)
		cutConnection(w)
		return
	}
	received, err := io.Copy(target, r.Body)
	if err != nil || received != r.ContentLength {
		w.WriteHeader(http.StatusBadRequest) // what came of it stays
		return
	}
	if broken != nil && broken.Keep > 0 {
		_ = target.Truncate(broken.Keep)
	}
	if broken != nil && broken.After && f.breakOff(w, broken) {
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// directoryOf finds the files of a datastore; at an ESXi host, which has a datacenter of its own only, among its own.
func (f *front) directoryOf(query url.Values, host string) (string, bool) {
	system := systemOf(host)
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		datacenter := strings.Trim(query.Get("dcPath"), "/")
		here := datacenterOf(store.Parent) == datacenter
		if system != nil {
			here = mountedBy(store, &system.Self) && (datacenter == "" || datacenter == "ha-datacenter")
		}
		if store.Name == query.Get("dsName") && here {
			return store.Info.GetDatastoreInfo().Url, store.Summary.Accessible
		}
	}
	return "", false
}

func systemOf(name string) *simulator.HostSystem {
	for _, entity := range simulator.Map.All("HostSystem") {
		if host := entity.(*simulator.HostSystem); name != "" && host.Name == name {
			return host
		}
	}
	return nil
}

func datacenterOf(parent *types.ManagedObjectReference) string {
	for parent != nil {
		switch entity := simulator.Map.Get(*parent).(type) {
		case *simulator.Datacenter:
			return entity.Name
		case *simulator.Folder:
			parent = entity.Parent
		case *simulator.StoragePod:
			parent = entity.Parent
		default:
			return ""
		}
	}
	return ""
}

// redeem takes a ticket, once, for the request that it was made for; nil when there is none.
func (f *front) redeem(r *http.Request) *ticket {
	cookie, err := r.Cookie("vmware_cgi_ticket")
	if err != nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	made, known := f.tickets[cookie.Value]
	delete(f.tickets, cookie.Value)
	method := "http" + strings.ToUpper(r.Method[:1]) + strings.ToLower(r.Method[1:])
	if !known || made.method != method || made.url.RequestURI() != r.URL.RequestURI() {
		return nil
	}
	return &made
}

func (f *front) thumbprint() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var parts []string
	for _, one := range sha1.Sum(f.identity.Certificate[0]) { //nolint:gosec
		parts = append(parts, fmt.Sprintf("%02X", one))
	}
	return strings.Join(parts, ":")
}

func newID() string { return uuid.New().String() }
