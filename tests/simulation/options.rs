//! The options of the command line.

/// The options of a run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Run only this seed, and print its story.
    pub(crate) seed: Option<u64>,
    /// Run only this schedule by hand, and print its story.
    pub(crate) known: Option<String>,
    /// Run only schedules from seeds.
    pub(crate) only_seeds: bool,
    /// The number of schedules.
    pub(crate) schedules: u64,
    /// The first seed.
    pub(crate) from: u64,
    /// Print the story of each schedule, not only of one that fails.
    pub(crate) story: bool,
    /// Stop after this many failures. By default all schedules by hand run, and seeds until the first failure.
    pub(crate) failures: Option<usize>,
    /// The number of schedules that run at a time.
    pub(crate) threads: usize,
}

impl Options {
    /// Reads the arguments of a test without a harness. `None`: cargo asked for other tests only.
    ///
    /// # Errors
    /// The arguments are invalid.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            seed: None,
            known: None,
            only_seeds: false,
            schedules: 100,
            from: 0,
            story: false,
            failures: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        };
        let split = |argument: String| -> Vec<String> { argument.splitn(2, '=').map(str::to_owned).collect() };
        let mut arguments = arguments.flat_map(split);
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().ok_or(format!("{argument} needs a number"))?;
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{argument} needs a number, not {value}"))
            };
            match argument.as_str() {
                "--seed" => options.seed = Some(number()?),
                "--only-seeds" => options.only_seeds = true,
                "--known" => options.known = arguments.next(),
                "--schedules" => options.schedules = number()?,
                "--from" => options.from = number()?,
                "--failures" => options.failures = usize::try_from(number()?.max(1)).ok(),
                "--threads" | "--test-threads" => {
                    options.threads = usize::try_from(number()?.max(1)).unwrap_or(1);
                }
                "--story" => options.story = true,
                // Arguments that cargo passes to every test.
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" | "--include-ignored"
                | "--exact" => {}
                "--list" | "--ignored" => return Ok(None),
                _ if argument.starts_with('-') => return Err(format!("unknown option {argument}")),
                filter if "simulation".contains(filter) => {}
                seed if seed.parse::<u64>().is_ok() => return Err(format!("is {seed} a seed? --seed {seed}")),
                promise if crate::known::all().iter().any(|(name, _)| *name == promise) => {
                    return Err(format!("to run one schedule by hand: --known {promise}"));
                }
                // A filter for other tests, which cargo passes to all of them.
                _ => {
                    println!("test result: ok. 0 passed; 0 failed; 1 filtered out;");
                    return Ok(None);
                }
            }
        }
        Ok(Some(options))
    }
}
