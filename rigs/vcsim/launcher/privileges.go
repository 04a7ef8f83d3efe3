package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// rights are what the fleet's user may do: everything, unless the tests have said something else. What a call needs
// stands here as the API's pages have it (ReconfigVM_Task, HostDatastoreBrowser, FileManager, DatastoreNamespaceManager).
type rights struct {
	Granted    []string `json:"granted"`    // privileges, on every object
	Unreadable []string `json:"unreadable"` // objects that may be seen, and not read
	Roles      bool     `json:"roles"`      // nobody may ask who may do what, but for each object's role
}

func (r *rights) has(privilege string) bool {
	if r == nil || r.Granted == nil || strings.HasPrefix(privilege, "System.") {
		return true
	}
	for _, one := range r.Granted {
		if one == privilege {
			return true
		}
	}
	return false
}

func (r *rights) reads(id string) bool {
	if r == nil {
		return true
	}
	for _, one := range r.Unreadable {
		if one == id {
			return false
		}
	}
	return true
}

func (f *front) setRights(body io.Reader) error {
	wanted := &rights{}
	if err := json.NewDecoder(body).Decode(wanted); err != nil {
		return err
	}
	if wanted.Roles {
		readOnly := []int32{-2}
		for _, entity := range append(simulator.Map.All("VirtualMachine"), simulator.Map.All("Datastore")...) {
			simulator.Map.Update(entity, []types.PropertyChange{{Name: "effectiveRole", Val: readOnly}})
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rights = wanted
	return nil
}

func (f *front) may(privilege string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rights.has(privilege)
}

// need is a privilege on an object.
type need struct {
	object    types.ManagedObjectReference
	privilege string
}

// forbidden answers a call for which a privilege is missing; nil when it may go on.
func (f *front) forbidden(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return nil
	}
	for _, one := range needs(method) {
		if !f.may(one.privilege) {
			return noPermission(one)
		}
	}
	if request, asked := method.Body.(*types.HasPrivilegeOnEntities); asked {
		return f.privileges(request)
	}
	return nil
}

func needs(method *simulator.Method) []need {
	switch request := method.Body.(type) {
	case *types.SearchDatastore_Task:
		return []need{{storeOfBrowser(method.This), "Datastore.Browse"}}
	case *types.SearchDatastoreSubFolders_Task:
		return []need{{storeOfBrowser(method.This), "Datastore.Browse"}}
	case *types.MakeDirectory:
		return []need{{storeNamed(request.Datacenter, request.Name), "Datastore.FileManagement"}}
	case *types.DeleteDatastoreFile_Task:
		return []need{{storeNamed(request.Datacenter, request.Name), "Datastore.FileManagement"}}
	case *types.MoveDatastoreFile_Task:
		return []need{{storeNamed(request.SourceDatacenter, request.SourceName), "Datastore.FileManagement"}}
	case *types.CreateDirectory:
		return []need{{request.Datastore, "Datastore.Config"}}
	case *types.DeleteDirectory:
		return []need{{*request.Datacenter, "Datastore.Config"}}
	case *types.AnswerVM:
		return []need{{method.This, "VirtualMachine.Interact.AnswerQuestion"}}
	case *types.ReconfigVM_Task:
		return needsOfChange(method.This, request.Spec.DeviceChange)
	}
	return nil
}

func needsOfChange(this types.ManagedObjectReference, changes []types.BaseVirtualDeviceConfigSpec) []need {
	vm, known := simulator.Map.Get(this).(*simulator.VirtualMachine)
	if !known {
		return nil
	}
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	var found []need
	for _, one := range changes {
		change := one.GetVirtualDeviceConfigSpec()
		if change.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			found = append(found, need{this, "VirtualMachine.Config.AddRemoveDevice"})
			continue
		}
		after := change.Device.GetVirtualDevice()
		device := devices.FindByKey(after.Key)
		if device == nil {
			continue
		}
		before := device.GetVirtualDevice()
		if !reflect.DeepEqual(before.Backing, after.Backing) {
			found = append(found, need{this, "VirtualMachine.Interact.SetCDMedia"})
		}
		if before.Connectable != nil && after.Connectable != nil {
			if running(vm) && before.Connectable.Connected != after.Connectable.Connected {
				found = append(found, need{this, "VirtualMachine.Interact.DeviceConnection"})
			}
			if before.Connectable.StartConnected != after.Connectable.StartConnected {
				found = append(found, need{this, "VirtualMachine.Config.EditDevice"})
			}
		}
	}
	return found
}

func storeOfBrowser(browser types.ManagedObjectReference) types.ManagedObjectReference {
	return simulator.Map.Get(browser).(*simulator.HostDatastoreBrowser).Datastore[0]
}

func storeNamed(datacenter *types.ManagedObjectReference, name string) types.ManagedObjectReference {
	where := object.DatastorePath{}
	where.FromString(name)
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Name == where.Datastore && (datacenter == nil || datacenterOf(store.Parent) == datacenterOf(datacenter)) {
			return store.Self
		}
	}
	return types.ManagedObjectReference{Type: "Datastore", Value: where.Datastore}
}

func noPermission(one need) *httptest.ResponseRecorder {
	answer := faultAnswer("NoPermission", "Permission to perform this operation was denied.")
	text := strings.Replace(answer.Body.String(), `xsi:type="NoPermission">`, `xsi:type="NoPermission">`+inside(one), 1)
	answer.Body.Reset()
	answer.Body.WriteString(text)
	return answer
}

func inside(one need) string {
	return fmt.Sprintf(`<object type="%s">%s</object><privilegeId>%s</privilegeId>`,
		one.object.Type, one.object.Value, one.privilege)
}

// privileges answers who may do what, of objects that may be read.
func (f *front) privileges(request *types.HasPrivilegeOnEntities) *httptest.ResponseRecorder {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := ""
	for _, entity := range request.Entity {
		if f.rights != nil && (f.rights.Roles || !f.rights.reads(entity.Value)) {
			return noPermission(need{entity, "System.Read"})
		}
		answer += fmt.Sprintf(`<returnval><entity type="%s">%s</entity>`, entity.Type, entity.Value)
		for _, id := range request.PrivId {
			answer += fmt.Sprintf("<privAvailability><privId>%s</privId><isGranted>%t</isGranted></privAvailability>",
				id, f.rights.has(id))
		}
		answer += "</returnval>"
	}
	return answerOf("HasPrivilegeOnEntities", answer)
}

var (
	anObject   = regexp.MustCompile(`(?s)<objects>.*?</objects>`)
	itsID      = regexp.MustCompile(`<obj [^>]*type="(\w+)"[^>]*>([^<]*)</obj>`)
	aProperty  = regexp.MustCompile(`(?s)<propSet><name>([^<]*)</name>.*?</propSet>`)
	seenByView = map[string]bool{"name": true, "parent": true, "datastore": true, "effectiveRole": true}
)

// conceal takes what may not be read out of an answer of the property collector, and says so as it does.
func (f *front) conceal(answer *httptest.ResponseRecorder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rights == nil || len(f.rights.Unreadable) == 0 && !f.rights.Roles {
		return
	}
	text := anObject.ReplaceAllStringFunc(answer.Body.String(), func(block string) string {
		id := itsID.FindStringSubmatch(block)
		if id == nil || f.rights.reads(id[2]) {
			return block
		}
		refused := ""
		one := need{types.ManagedObjectReference{Type: id[1], Value: id[2]}, "System.Read"}
		block = aProperty.ReplaceAllStringFunc(block, func(property string) string {
			name := aProperty.FindStringSubmatch(property)[1]
			if seenByView[name] {
				return property
			}
			refused += fmt.Sprintf(`<missingSet><path>%s</path><fault><fault xsi:type="NoPermission">%s</fault>`+
				`<localizedMessage>denied</localizedMessage></fault></missingSet>`, name, inside(one))
			return ""
		})
		return strings.Replace(block, "</objects>", refused+"</objects>", 1)
	})
	answer.Body.Reset()
	answer.Body.WriteString(text)
}

// folderNeeds is the privilege for a request for a file of a datastore.
func folderNeeds(method string) string {
	if method == http.MethodPut {
		return "Datastore.FileManagement"
	}
	return "Datastore.Browse"
}
