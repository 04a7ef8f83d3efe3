package main

import (
	"net/http/httptest"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// isVSAN says whether a datastore takes nothing at its top but the objects that the namespace manager makes.
func isVSAN(setup *configuration, store *simulator.Datastore) bool {
	for _, directory := range setup.VSAN {
		if store.Info.GetDatastoreInfo().Url == directory {
			return true
		}
	}
	return false
}

// namespace answers for the directories at the top of vSAN datastores: called by a uuid, with a name that leads there.
// nil when the simulator may answer: of a folder elsewhere.
func (f *front) namespace(body []byte) *httptest.ResponseRecorder {
	method, err := simulator.UnmarshalBody(types.TypeFunc(), body)
	if err != nil {
		return faultAnswer("InvalidRequest", err.Error())
	}
	switch request := method.Body.(type) {
	case *types.MakeDirectory:
		if f.isTop(request.Datacenter, request.Name) {
			return faultAnswer("CannotCreateFile", "the top of this datastore takes objects only")
		}
		return nil
	case *types.CreateDirectory:
		store, known := simulator.Map.Get(request.Datastore).(*simulator.Datastore)
		if !known || !isVSAN(f.setup, store) {
			return faultAnswer("CannotCreateFile", "not a datastore with objects at its top")
		}
		root, id := store.Info.GetDatastoreInfo().Url, newID()
		if _, err := os.Lstat(path.Join(root, request.DisplayName)); err == nil {
			return faultAnswer("FileAlreadyExists", request.DisplayName)
		}
		_ = os.Mkdir(path.Join(root, id), 0o755)
		_ = os.Symlink(id, path.Join(root, request.DisplayName))
		return answerOf(method.Name, "<returnval>"+path.Join(root, id)+"</returnval>")
	case *types.DeleteDirectory:
		directory := request.DatastorePath
		if f.topOf(path.Dir(directory)) == nil {
			return faultAnswer("InvalidDatastorePath", directory)
		}
		if err := os.Remove(directory); os.IsNotExist(err) {
			return faultAnswer("FileNotFound", directory)
		} else if err != nil {
			return faultAnswer("DirectoryNotEmpty", directory)
		}
		return answerOf(method.Name, "")
	case *types.ConvertNamespacePathToUuidPath:
		directory := strings.TrimPrefix(request.NamespaceUrl, "ds://")
		real, err := os.Readlink(directory)
		if err != nil {
			return faultAnswer("InvalidDatastorePath", directory)
		}
		return answerOf(method.Name, "<returnval>ds://"+path.Join(path.Dir(directory), real)+"/</returnval>")
	}
	return nil
}

// topOf is the vSAN datastore of which this is the top.
func (f *front) topOf(directory string) *simulator.Datastore {
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if isVSAN(f.setup, store) && store.Info.GetDatastoreInfo().Url == path.Clean(directory) {
			return store
		}
	}
	return nil
}

// isTop says whether a datastore path names something at the top of a vSAN datastore.
func (f *front) isTop(datacenter *types.ManagedObjectReference, name string) bool {
	where := object.DatastorePath{}
	if !where.FromString(name) || datacenter == nil || strings.Contains(strings.Trim(where.Path, "/"), "/") {
		return false
	}
	for _, entity := range simulator.Map.All("Datastore") {
		store := entity.(*simulator.Datastore)
		if store.Name == where.Datastore && isVSAN(f.setup, store) && datacenterOf(store.Parent) == datacenterOf(datacenter) {
			return true
		}
	}
	return false
}

// isObject says whether a datastore path is that of a directory at the top of a vSAN datastore.
func (f *front) isObject(datacenter *types.ManagedObjectReference, name string) bool {
	return f.isTop(datacenter, name) && path.Ext(name) == ""
}
