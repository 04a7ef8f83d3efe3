package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// question waits for somebody to say whether a locked tray is opened.
type question struct {
	vm   types.ManagedObjectReference
	task *simulator.Task
	yes  bool
}

// reconfigure refuses what a real vCenter refuses and the simulator does not; nil when it may go on.
func (f *front) reconfigure(body []byte, r *http.Request) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	vm, known := simulator.Map.Get(method.This).(*simulator.VirtualMachine)
	if !known {
		return nil
	}
	spec := method.Body.(*types.ReconfigVM_Task).Spec
	if spec.ChangeVersion != "" && spec.ChangeVersion != vm.Config.ChangeVersion {
		return taskAnswer("ReconfigVM_Task", failing(vm.Self, "reconfigVm", &types.ConcurrentAccess{}))
	}
	if fault := refusal(vm, spec.DeviceChange); fault != nil {
		return taskAnswer("ReconfigVM_Task", failing(vm.Self, "reconfigVm", fault))
	}
	f.mu.Lock()
	held := f.locked[vm.Self.Value] && running(vm) && touchesMedium(vm, spec.DeviceChange)
	f.mu.Unlock()
	if held {
		return taskAnswer("ReconfigVM_Task", f.ask(vm, body, r))
	}
	return nil
}

func running(vm *simulator.VirtualMachine) bool {
	return vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
}

func refusal(vm *simulator.VirtualMachine, changes []types.BaseVirtualDeviceConfigSpec) types.BaseMethodFault {
	if vm.Runtime.PowerState == types.VirtualMachinePowerStateSuspended {
		return &types.InvalidPowerState{ExistingState: vm.Runtime.PowerState}
	}
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	controllers := map[int32]types.BaseVirtualDevice{}
	for _, device := range devices {
		controllers[device.GetVirtualDevice().Key] = device
	}
	for position, one := range changes {
		change := one.GetVirtualDeviceConfigSpec()
		if _, isController := change.Device.(types.BaseVirtualController); isController {
			controllers[change.Device.GetVirtualDevice().Key] = change.Device
			continue
		}
		cd, isCD := change.Device.(*types.VirtualCdrom)
		if !isCD {
			continue
		}
		if fault := refuseCD(vm, cd, change.Operation, controllers[cd.ControllerKey], position); fault != nil {
			return fault
		}
	}
	return nil
}

func refuseCD(vm *simulator.VirtualMachine, cd *types.VirtualCdrom, operation types.VirtualDeviceConfigSpecOperation,
	controller types.BaseVirtualDevice, position int) types.BaseMethodFault {
	invalid := &types.InvalidDeviceSpec{DeviceIndex: int32(position)}
	units := int32(0)
	switch controller.(type) {
	case *types.VirtualIDEController:
		units = 2
		if running(vm) && operation != types.VirtualDeviceConfigSpecOperationEdit {
			return &types.InvalidDeviceOperation{BadOp: operation}
		}
	case *types.VirtualAHCIController:
		units = 30
	}
	if cd.UnitNumber == nil || *cd.UnitNumber < 0 || *cd.UnitNumber >= units {
		return invalid
	}
	backing, isISO := cd.Backing.(*types.VirtualCdromIsoBackingInfo)
	if !isISO || operation == types.VirtualDeviceConfigSpecOperationRemove {
		return nil
	}
	where := object.DatastorePath{}
	if !where.FromString(backing.FileName) {
		return &types.InvalidDatastorePath{DatastorePath: backing.FileName}
	}
	store := datastoreOf(vm, where.Datastore)
	if store == nil || !mountedBy(store, vm.Runtime.Host) {
		return &types.InaccessibleDatastore{InvalidDatastore: types.InvalidDatastore{Name: where.Datastore}}
	}
	_, err := os.Stat(path.Join(store.Info.GetDatastoreInfo().Url, where.Path))
	if err != nil && running(vm) {
		return &types.FileNotFound{FileFault: types.FileFault{File: backing.FileName}}
	}
	return nil
}

// datastoreOf is the datastore of this name in the VM's datacenter.
func datastoreOf(vm *simulator.VirtualMachine, name string) *simulator.Datastore {
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Name == name && datacenterOf(store.Parent) == datacenterOf(vm.Parent) {
			return store
		}
	}
	return nil
}

func mountedBy(store *simulator.Datastore, host *types.ManagedObjectReference) bool {
	for _, mount := range store.Host {
		if host != nil && mount.Key == *host {
			return true
		}
	}
	return false
}

func touchesMedium(vm *simulator.VirtualMachine, changes []types.BaseVirtualDeviceConfigSpec) bool {
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	for _, one := range changes {
		change := one.GetVirtualDeviceConfigSpec()
		if before, isCD := devices.FindByKey(change.Device.GetVirtualDevice().Key).(*types.VirtualCdrom); isCD {
			if _, full := before.Backing.(*types.VirtualCdromIsoBackingInfo); full {
				return true
			}
		}
	}
	return false
}

// ask leaves the task running until AnswerVM, as a real vCenter does when the guest holds the tray.
func (f *front) ask(vm *simulator.VirtualMachine, body []byte, r *http.Request) types.ManagedObjectReference {
	asked := &question{vm: vm.Self}
	asked.task = simulator.CreateTask(vm, "reconfigVm", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if !asked.yes {
			return nil, &types.GenericVmConfigFault{Reason: "the CD-ROM door is locked by the guest"}
		}
		f.pass(body, r)
		noteDatastores(body)
		return nil, nil
	})
	simulator.Map.Update(asked.task, []types.PropertyChange{{Name: "info.state", Val: types.TaskInfoStateRunning}})
	id := newID()
	f.mu.Lock()
	f.pending[id] = asked
	f.mu.Unlock()
	text := "The guest operating system has locked the CD-ROM door and is probably using the CD-ROM. " +
		"Disconnect anyway (and override the lock)?"
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "runtime.question", Val: &types.VirtualMachineQuestionInfo{
		Id:   id,
		Text: "msg.cdromdisconnect.locked:" + text,
		Choice: types.ChoiceOption{ChoiceInfo: []types.BaseElementDescription{
			&types.ElementDescription{Key: "0", Description: types.Description{Label: "button.yes", Summary: "Yes"}},
			&types.ElementDescription{Key: "1", Description: types.Description{Label: "button.no", Summary: "No"}},
		}},
		Message: []types.VirtualMachineMessage{{Id: "msg.cdromdisconnect.locked", Text: text}},
	}}})
	return asked.task.Self
}

func (f *front) answer(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	request := method.Body.(*types.AnswerVM)
	f.mu.Lock()
	asked := f.pending[request.QuestionId]
	delete(f.pending, request.QuestionId)
	if asked != nil {
		asked.yes = request.AnswerChoice == "0"
		if asked.yes {
			delete(f.locked, asked.vm.Value)
		}
	}
	f.mu.Unlock()
	if asked == nil {
		return faultAnswer("ConcurrentAccess", "no such question")
	}
	vm := simulator.Map.Get(asked.vm).(*simulator.VirtualMachine)
	simulator.Map.WithLock(vm, func() { vm.Runtime.Question = nil })
	asked.task.Run()
	return answerOf("AnswerVM", "")
}

// noteDatastores lets a datastore know the VMs with one of its files in a CD drive and the drive its datastore, and
// configurations bear another version after each change, as real ones do.
func noteDatastores(body []byte) {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return
	}
	vm, known := simulator.Map.Get(method.This).(*simulator.VirtualMachine)
	if !known {
		return
	}
	version(vm)
	for _, device := range vm.Config.Hardware.Device {
		if backing, isISO := device.GetVirtualDevice().Backing.(*types.VirtualCdromIsoBackingInfo); isISO {
			where := object.DatastorePath{}
			where.FromString(backing.FileName)
			if store := datastoreOf(vm, where.Datastore); store != nil {
				simulator.Map.WithLock(vm, func() { backing.Datastore = &store.Self })
				simulator.Map.AddReference(store, &store.Vm, vm.Self)
				simulator.Map.AddReference(vm, &vm.Datastore, store.Self)
			}
		}
	}
}

func version(vm *simulator.VirtualMachine) {
	simulator.Map.WithLock(vm, func() { vm.Config.ChangeVersion = time.Now().Format(time.RFC3339Nano) })
}

// versionAll gives new VMs a version of their configuration.
func versionAll() {
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if vm := entity.(*simulator.VirtualMachine); vm.Config.ChangeVersion == "" {
			version(vm)
		}
	}
}

// refuseDelete keeps the files that a running VM has in a drive, and the objects at the top of a vSAN datastore; nil when
// it may go on.
func (f *front) refuseDelete(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	request := method.Body.(*types.DeleteDatastoreFile_Task)
	name := request.Name
	if f.isObject(request.Datacenter, name) {
		refused := &types.CannotDeleteFile{FileFault: types.FileFault{File: name}}
		return taskAnswer("DeleteDatastoreFile_Task", failing(method.This, "deleteDatastoreFile", refused))
	}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		for _, device := range vm.Config.Hardware.Device {
			backing, isISO := device.GetVirtualDevice().Backing.(*types.VirtualCdromIsoBackingInfo)
			here := request.Datacenter == nil || datacenterOf(vm.Parent) == datacenterOf(request.Datacenter)
			if isISO && here && running(vm) && strings.EqualFold(backing.FileName, name) {
				locked := &types.FileLocked{FileFault: types.FileFault{File: name}}
				return taskAnswer("DeleteDatastoreFile_Task", failing(method.This, "deleteDatastoreFile", locked))
			}
		}
	}
	return nil
}

func findAllByUUID(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	request := method.Body.(*types.FindAllByUuid)
	found := ""
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		uuid := vm.Config.Uuid
		if request.InstanceUuid != nil && *request.InstanceUuid {
			uuid = vm.Config.InstanceUuid
		}
		if strings.EqualFold(uuid, request.Uuid) {
			found += fmt.Sprintf(`<returnval type="VirtualMachine">%s</returnval>`, vm.Self.Value)
		}
	}
	return answerOf("FindAllByUuid", found)
}
