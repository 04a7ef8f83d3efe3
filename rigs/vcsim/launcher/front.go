package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/soap"
)

// front stands before the simulator: it knows the live sessions, counts calls, delays and breaks them.
type front struct {
	inner http.Handler
	setup *configuration

	mu       sync.Mutex
	sessions map[string]bool
	tickets  map[string]ticket
	calls    []string
	inside   int // calls that are being answered
	most     int // of them at once since the last question
	bytes    int // answered since then
	delay    time.Duration
	rules    []*rule
	locked   map[string]bool // VMs whose guest holds the tray
	pending  map[string]*question
	rights   *rights
	down     bool
	open     map[net.Conn]bool
	identity *tls.Certificate
}

func newFront(inner http.Handler, setup *configuration) *front {
	return &front{
		inner: inner, setup: setup, sessions: map[string]bool{}, tickets: map[string]ticket{},
		locked: map[string]bool{}, pending: map[string]*question{}, open: map[net.Conn]bool{},
	}
}

var (
	methodName = regexp.MustCompile(`Body[^>]*>\s*<(?:\w+:)?(\w+)`)
	cookieName = soap.SessionCookieName
)

// ServeHTTP notes the call, waits, breaks it if a rule says so, and answers it.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.enter(1)
	defer f.enter(-1)
	if r.URL.Path != "/sdk" {
		if !isFolder(r.URL.Path) {
			f.inner.ServeHTTP(w, r)
			return
		}
		f.note(r.Method)
		f.serveFolder(w, r, f.match(r.Method))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	method := ""
	if found := methodName.FindSubmatch(body); found != nil {
		method = string(found[1])
	}
	f.note(method)
	broken := f.match(method)
	if broken != nil && !broken.After && !broken.Task {
		if f.breakOff(w, broken) {
			return
		}
	}
	answer := f.call(method, body, r, broken)
	if broken != nil && broken.After {
		if f.breakOff(w, broken) {
			return
		}
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	f.mu.Lock()
	f.bytes += answer.Body.Len()
	f.mu.Unlock()
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// enter counts the calls that are being answered.
func (f *front) enter(one int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inside += one
	if f.inside > f.most {
		f.most = f.inside
	}
}

// call answers one SOAP call: refused without a session, by ourselves where the simulator cannot, else by the simulator.
func (f *front) call(method string, body []byte, r *http.Request, broken *rule) *httptest.ResponseRecorder {
	open := method == "RetrieveServiceContent" || method == "Login"
	if !open && !f.authenticated(r) {
		return faultAnswer("NotAuthenticated", "The session is not authenticated.")
	}
	if broken != nil && broken.Task {
		return failedTask(body, broken)
	}
	if refused := f.forbidden(body); refused != nil {
		return refused
	}
	switch method {
	case "FindAllByUuid":
		return findAllByUUID(body)
	case "AcquireGenericServiceTicket":
		return f.newTicket(body)
	case "CreateDirectory", "DeleteDirectory", "ConvertNamespacePathToUuidPath", "MakeDirectory":
		if answered := f.namespace(body); answered != nil {
			return answered
		}
	case "ReconfigVM_Task":
		if refused := f.reconfigure(body, r); refused != nil {
			return refused
		}
	case "DeleteDatastoreFile_Task":
		if refused := f.refuseDelete(body); refused != nil {
			return refused
		}
	case "AnswerVM":
		return f.answer(body)
	}
	answer := f.pass(body, r)
	switch method {
	case "Login":
		for _, cookie := range answer.Result().Cookies() {
			if cookie.Name == cookieName {
				f.mu.Lock()
				f.sessions[cookie.Value] = true
				f.mu.Unlock()
			}
		}
	case "ReconfigVM_Task":
		noteDatastores(body)
	case "RetrievePropertiesEx":
		f.conceal(answer)
	}
	return answer
}

// pass hands a call on to the simulator.
func (f *front) pass(body []byte, r *http.Request) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/sdk", bytes.NewReader(body))
	request.Header = r.Header.Clone()
	request.Header.Del("Accept-Encoding")
	if !f.authenticated(r) {
		request.Header.Del("Cookie")
	}
	answer := httptest.NewRecorder()
	f.inner.ServeHTTP(answer, request)
	return answer
}

// administer is the simulator without the front: calls of the tests themselves.
func (f *front) administer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if refused := prepareMove(body); refused != nil {
		_, _ = w.Write(refused.Body.Bytes())
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	restore := f.keepForeign(body)
	f.inner.ServeHTTP(w, r)
	restore()
	if found := methodName.FindSubmatch(body); found != nil {
		switch string(found[1]) {
		case "ReconfigVM_Task", "RelocateVM_Task":
			noteDatastores(body)
		case "CreateVM_Task", "CloneVM_Task":
			versionAll()
		}
	}
}

func (f *front) authenticated(r *http.Request) bool {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sessions[cookie.Value]
}

func (f *front) note(call string) {
	f.mu.Lock()
	f.calls = append(f.calls, call)
	delay := f.delay
	f.mu.Unlock()
	time.Sleep(delay)
}

func (f *front) useCertificate(certificate, key string) error {
	loaded, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.identity = &loaded
	return nil
}

func (f *front) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.identity, nil
}

// gate lets nobody in while the front is down, and knows who is in.
type gate struct {
	net.Listener
	front *front
}

type visitor struct {
	net.Conn
	front *front
}

func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.front.mu.Lock()
		down := g.front.down
		if !down {
			g.front.open[conn] = true
		}
		g.front.mu.Unlock()
		if !down {
			return &visitor{conn, g.front}, nil
		}
		_ = conn.Close()
	}
}

func (v *visitor) Close() error {
	v.front.mu.Lock()
	delete(v.front.open, v.Conn)
	v.front.mu.Unlock()
	return v.Conn.Close()
}

func (f *front) setDown(down bool) {
	f.mu.Lock()
	f.down = down
	var cut []net.Conn
	if down {
		for conn := range f.open {
			cut = append(cut, conn)
		}
	}
	f.mu.Unlock()
	for _, conn := range cut {
		_ = conn.Close()
	}
}
