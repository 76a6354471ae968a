//! Circles of imports inside a room: modules of which each imports, over others, itself.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// A module, by its segments from the root of the crate.
type Module = Vec<String>;

/// Which module imports which, inside each room.
#[derive(Debug, Default)]
pub(crate) struct Imports(BTreeMap<Module, BTreeSet<Module>>);

impl Imports {
    /// Adds one import. `target` is a path of items behind a module: the longest part of it that is a module counts.
    ///
    /// A module may use what its ancestors define, as a function uses what stands around it, so that is no import here.
    pub(crate) fn add(&mut self, source: &[String], target: &[String], modules: &BTreeSet<Module>) {
        let Some(target) = (1..=target.len())
            .rev()
            .filter_map(|length| target.get(..length))
            .find(|part| modules.contains(*part))
        else {
            return;
        };
        if source.first() == target.first() && !source.starts_with(target) {
            self.0.entry(source.to_vec()).or_default().insert(target.to_vec());
        }
    }

    /// Every circle, as the sorted modules that reach each other.
    pub(crate) fn circles(&self) -> BTreeSet<BTreeSet<Module>> {
        let reach: BTreeMap<&Module, BTreeSet<&Module>> =
            self.0.keys().map(|module| (module, self.reachable(module))).collect();
        let closes = |one: &Module, other: &Module| reach.get(one).is_some_and(|reached| reached.contains(other));
        reach
            .iter()
            .filter(|(module, reached)| reached.contains(*module))
            .map(|(module, reached)| {
                let mut circle: BTreeSet<Module> = reached
                    .iter()
                    .filter(|other| closes(other, module))
                    .map(|other| (*other).clone())
                    .collect();
                circle.insert((*module).clone());
                circle
            })
            .collect()
    }

    fn reachable<'a>(&'a self, from: &Module) -> BTreeSet<&'a Module> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&Module> = self.0.get(from).into_iter().flatten().collect();
        while let Some(module) = open.pop() {
            if reached.insert(module) {
                open.extend(self.0.get(module).into_iter().flatten());
            }
        }
        reached
    }
}

mod planted {
    //! A circle is found, and what only looks like one is not.

    use super::*;

    fn module(name: &str) -> Module {
        name.split('/').map(str::to_owned).collect()
    }

    fn circles(imports: &[(&str, &str)]) -> Vec<Vec<String>> {
        let names = imports.iter().flat_map(|(source, target)| [*source, *target]);
        let modules = names.map(module).collect();
        let mut found = Imports::default();
        for (source, target) in imports {
            found.add(&module(source), &module(&format!("{target}/Item")), &modules);
        }
        let circles = found.circles().into_iter();
        circles
            .map(|circle| circle.into_iter().map(|module| module.join("/")).collect())
            .collect()
    }

    #[test]
    fn a_circle_is_found_with_all_of_its_modules_and_no_others() {
        let imports = [
            ("kms/a", "kms/b"),
            ("kms/b", "kms/c"),
            ("kms/c", "kms/a"),
            ("kms/d", "kms/a"),
            ("kms/c", "kms/e"),
        ];
        assert_eq!(circles(&imports), [["kms/a", "kms/b", "kms/c"]]);
        assert_eq!(circles(&imports[..2]), Vec::<Vec<String>>::new());
    }

    #[test]
    fn circles_that_do_not_touch_are_two() {
        let imports = [
            ("kms/a", "kms/b"),
            ("kms/b", "kms/a"),
            ("app/a", "app/b"),
            ("app/b", "app/a"),
        ];
        assert_eq!(circles(&imports), [["app/a", "app/b"], ["kms/a", "kms/b"]]);
    }

    #[test]
    fn a_module_may_use_what_its_ancestors_define() {
        assert_eq!(
            circles(&[("kms", "kms/a"), ("kms/a/b", "kms"), ("kms/a", "kms/a/b")]),
            Vec::<Vec<String>>::new()
        );
    }
}
