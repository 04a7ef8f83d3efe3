package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// rule breaks calls of one method (a SOAP method, or GET, HEAD, PUT below /folder; "*": any).
type rule struct {
	Method string  `json:"method"`
	Skip   int     `json:"skip"`  // so many calls pass before
	Times  int     `json:"times"` // so many calls are broken; 0: all
	Fault  string  `json:"fault"` // a vim fault as the answer
	Task   bool    `json:"task"`  // the fault is the task's, not the call's
	Status int     `json:"status"`
	Cookie bool    `json:"cookie"` // the fault brings the cookie of a session that nobody has opened
	Empty  bool    `json:"empty"`  // the answer says nothing
	Close  bool    `json:"close"` // the connection dies
	After  bool    `json:"after"` // after the call was executed
	Cut    int64   `json:"cut"`   // PUT: the connection dies when so many bytes have come; they stay
	Keep   int64   `json:"keep"`  // PUT: only so many bytes are kept, and the answer is success
	Hang   float64 `json:"hang"`  // seconds before the call goes on
}

func (f *front) match(method string) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for position, one := range f.rules {
		if one.Method != "*" && one.Method != method {
			continue
		}
		if one.Skip > 0 {
			one.Skip--
			continue
		}
		if one.Times > 0 {
			one.Times--
			if one.Times == 0 {
				f.rules = append(f.rules[:position:position], f.rules[position+1:]...)
			}
		}
		return one
	}
	return nil
}

// breakOff does what the rule says; true when that was the answer.
func (f *front) breakOff(w http.ResponseWriter, broken *rule) bool {
	time.Sleep(time.Duration(broken.Hang * float64(time.Second)))
	switch {
	case broken.Close:
		cutConnection(w)
	case broken.Status != 0:
		w.WriteHeader(broken.Status)
	case broken.Empty:
		answer := answerOf(broken.Method, "")
		w.Header().Set("Content-Type", "text/xml")
		_, _ = w.Write(answer.Body.Bytes())
	case broken.Fault != "":
		if broken.Cookie {
			http.SetCookie(w, &http.Cookie{Name: cookieName, Value: newID()})
		}
		answer := faultAnswer(broken.Fault, "injected "+broken.Fault)
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	default:
		return false
	}
	return true
}

func cutConnection(w http.ResponseWriter) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = conn.Close()
	}
}

func newFault(name string) types.BaseMethodFault {
	kind, known := types.TypeFunc()(name)
	if !known {
		return &types.RuntimeFault{}
	}
	fault := reflect.New(kind)
	fill(fault.Elem())
	return fault.Interface().(types.BaseMethodFault)
}

// fill gives the fields that a real fault never leaves empty something that a client can read.
func fill(value reflect.Value) {
	for number := 0; number < value.NumField(); number++ {
		field := value.Field(number)
		switch field.Interface().(type) {
		case types.ManagedObjectReference:
			filled := types.ManagedObjectReference{Type: "Folder", Value: "group-d1"}
			if value.Type().Field(number).Name == "Task" {
				filled = types.ManagedObjectReference{Type: "Task", Value: "task-1"}
			}
			field.Set(reflect.ValueOf(filled))
		case types.VirtualMachinePowerState:
			field.Set(reflect.ValueOf(types.VirtualMachinePowerStatePoweredOn))
		default:
			if field.Kind() == reflect.Struct && value.Type().Field(number).Anonymous {
				fill(field)
			}
		}
	}
}

// control is what the tests say to the front, past its own delays and rules.
func (f *front) control(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch r.URL.Path {
	case "/control/calls": // what was called since the last question, in order
		f.mu.Lock()
		calls := f.calls
		f.calls = nil
		f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(append([]string{}, calls...))
	case "/control/load": // since the last question: calls at once at most, bytes answered by the API
		f.mu.Lock()
		fmt.Fprintf(w, `{"most": %d, "bytes": %d}`, f.most, f.bytes)
		f.most, f.bytes = 0, 0
		f.mu.Unlock()
	case "/control/delay":
		delay, err := time.ParseDuration(query.Get("each"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.mu.Lock()
		f.delay = delay
		f.mu.Unlock()
	case "/control/rules": // replaces all rules
		var rules []*rule
		if err := json.NewDecoder(r.Body).Decode(&rules); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		f.mu.Lock()
		f.rules = rules
		f.mu.Unlock()
	case "/control/rights": // of the fleet's user
		if err := f.setRights(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case "/control/expire": // every session
		f.mu.Lock()
		f.sessions = map[string]bool{}
		f.mu.Unlock()
	case "/control/sessions":
		f.mu.Lock()
		fmt.Fprint(w, len(f.sessions))
		f.mu.Unlock()
	case "/control/down":
		f.setDown(query.Get("now") == "true")
	case "/control/certificate":
		if err := f.useCertificate(query.Get("certificate"), query.Get("key")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	case "/control/lock":
		f.mu.Lock()
		f.locked[query.Get("vm")] = true
		f.mu.Unlock()
	case "/control/datastore": // accessible=false, maintenance=inMaintenance, free=bytes
		setDatastore(query.Get("directory"), query.Get("accessible"), query.Get("maintenance"), query.Get("free"))
	case "/control/rename": // a datastore: its VMs' paths begin with the new name, and no configuration has changed
		renameDatastore(query.Get("directory"), query.Get("name"))
	case "/control/connection": // of a VM, as vSphere sees it
		reference := types.ManagedObjectReference{Type: "VirtualMachine", Value: query.Get("vm")}
		if vm, known := simulator.Map.Get(reference).(*simulator.VirtualMachine); known {
			state := types.VirtualMachineConnectionState(query.Get("state"))
			simulator.Map.WithLock(vm, func() { vm.Runtime.ConnectionState = state })
		}
	default:
		http.NotFound(w, r)
	}
}

func renameDatastore(directory, name string) {
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Info.GetDatastoreInfo().Url != directory {
			continue
		}
		old := "[" + store.Name + "] "
		simulator.Map.Update(store, []types.PropertyChange{{Name: "name", Val: name}})
		for _, one := range simulator.Map.All("VirtualMachine") {
			vm := one.(*simulator.VirtualMachine)
			simulator.Map.WithLock(vm, func() {
				for _, device := range vm.Config.Hardware.Device {
					backing, known := device.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo)
					if known {
						file := backing.GetVirtualDeviceFileBackingInfo()
						file.FileName = strings.Replace(file.FileName, old, "["+name+"] ", 1)
					}
				}
				vm.Config.Files.VmPathName = strings.Replace(vm.Config.Files.VmPathName, old, "["+name+"] ", 1)
			})
		}
	}
}

func setDatastore(directory, accessible, maintenance, free string) {
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Info.GetDatastoreInfo().Url != directory {
			continue
		}
		summary := store.Summary
		if accessible != "" {
			summary.Accessible = accessible == "true"
		}
		if maintenance != "" {
			summary.MaintenanceMode = maintenance
		}
		if free != "" {
			_, _ = fmt.Sscan(free, &summary.FreeSpace)
		}
		simulator.Map.Update(store, []types.PropertyChange{{Name: "summary", Val: summary}})
	}
}
